"""The one piece of code that turns an RGB picture into a model's input array.

It is timm's evaluation transform (`timm.data.create_transform(is_training=False)`) without torch, to the bit but for
very thin pictures: pictures are served, calibrated and evaluated with the same pixels. Held to that by
tests/unit/contract/test_pixels_timm.py.
"""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from contract.spec import CropMode, Interpolation, Preprocessing

FILTERS = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BOX: Image.Resampling.BOX,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.HAMMING: Image.Resampling.HAMMING,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}
_THIN = 16
"""From how many times the crop's pixels on, a picture is resized in its crop only."""


def to_pixels(picture: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize and crop `picture`, an RGB image of any size, to uint8 `[height, width, 3]`.

    Raises:
        ValueError: the picture's mode is not RGB.
    """
    if picture.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {picture.mode}")
    across, down = resized(picture.size, preprocessing)
    left, width, paste_left = _window(across, preprocessing.width)
    top, height, paste_top = _window(down, preprocessing.height)
    kernel = FILTERS[preprocessing.interpolation]
    if across * down <= _THIN * preprocessing.width * preprocessing.height:
        cut = picture.resize((across, down), kernel).crop((left, top, left + width, top + height))
    else:
        # timm would make a picture of 1x10,000 pixels one of 224x2,240,000 before it cuts. This computes the cut alone;
        # Pillow rounds its place, and may do its two passes in the other order, so sharp edges differ.
        scale_x, scale_y = picture.width / across, picture.height / down
        box = (left * scale_x, top * scale_y, (left + width) * scale_x, (top + height) * scale_y)
        # Rounding may leave an edge a hair outside the picture, which Pillow refuses.
        box = (box[0], box[1], min(box[2], picture.width), min(box[3], picture.height))
        cut = picture.resize((width, height), kernel, box=box)
    if (width, height) != (preprocessing.width, preprocessing.height):
        canvas = Image.new("RGB", (preprocessing.width, preprocessing.height), preprocessing.fill)
        canvas.paste(cut, (paste_left, paste_top))
        cut = canvas
    return np.asarray(cut)


def resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """The (width, height) that a picture of `size` would be resized to before the crop, rounded as timm rounds."""
    width, height = size
    target_height = math.floor(preprocessing.height / preprocessing.crop_pct)
    target_width = math.floor(preprocessing.width / preprocessing.crop_pct)
    if preprocessing.crop_mode is CropMode.SQUASH:
        return target_width, target_height
    if preprocessing.crop_mode is CropMode.CENTER and target_height == target_width:
        # torchvision.transforms.Resize(int): the longer edge is truncated, not rounded.
        if width <= height:
            return target_width, int(target_width * height / width)
        return int(target_height * width / height), target_height
    choose = max if preprocessing.crop_mode is CropMode.BORDER else min
    ratio = choose(height / target_height, width / target_width)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _window(have: int, want: int) -> tuple[int, int, int]:
    """Along one edge: where the crop starts, how much of the picture it shows, where that is pasted."""
    if have >= want:
        return round((have - want) / 2), want, 0
    return 0, have, (want - have) // 2
