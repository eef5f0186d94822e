"""The one piece of code that turns an RGB picture into a model's input array.

It is timm's evaluation transform (`timm.data.create_transform(is_training=False)`) without torch, in two thirds of the
time: what the crop cuts away is not computed. 3 in 10,000 values of a photograph come out a level or two apart. Served,
calibrated and evaluated are the same pixels. Held to that by tests/unit/contract/test_pixels_timm.py.
"""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from contract.colours import is_upright, lies_on_its_side
from contract.spec import CropMode, Interpolation, Preprocessing

FILTERS = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BOX: Image.Resampling.BOX,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.HAMMING: Image.Resampling.HAMMING,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}
_SUPPORT = {
    Interpolation.NEAREST: 1.0,
    Interpolation.BOX: 0.5,
    Interpolation.BILINEAR: 1.0,
    Interpolation.HAMMING: 1.0,
    Interpolation.BICUBIC: 2.0,
    Interpolation.LANCZOS: 3.0,
}
"""How many pixels to either side a filter looks at, where it does not shrink; more in proportion where it does."""


SPARE = 3.0
"""How many times larger than it is resized to a picture stays when it is decoded at reduced scale. What libjpeg leaves
out is then a small part of what the resize averages: docs/decisions/0006-reduced-decoding.md has the numbers."""


def to_pixels(
    picture: Image.Image, preprocessing: Preprocessing, extent: tuple[float, float] | None = None
) -> npt.NDArray[np.uint8]:
    """Resize and crop `picture`, an RGB image of any size, to uint8 `[height, width, 3]`.

    Args:
        picture: the image.
        preprocessing: the input's size, and how to get there.
        extent: width and height of what the image shows, in its own pixels, where its last column or row shows only a
            fraction of one (see `draft`); its size where it is None.

    Raises:
        ValueError: the picture's mode is not RGB.
    """
    if picture.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {picture.mode}")
    wide, high = extent or picture.size
    across, down = resized((wide, high), preprocessing)
    left, width, paste_left = _window(across, preprocessing.width)
    top, height, paste_top = _window(down, preprocessing.height)
    if preprocessing.crop_mode is CropMode.CENTER:
        columns = left * wide / across, (left + width) * wide / across
        rows = top * high / down, (top + height) * high / down
        cut = _cut(picture, columns, rows, (width, height), preprocessing.interpolation)
    else:  # Little is cut away, or nothing.
        whole = picture.resize((across, down), FILTERS[preprocessing.interpolation], box=(0, 0, wide, high))
        cut = whole.crop((left, top, left + width, top + height))
    if (width, height) != (preprocessing.width, preprocessing.height):
        canvas = Image.new("RGB", (preprocessing.width, preprocessing.height), preprocessing.fill)
        canvas.paste(cut, (paste_left, paste_top))
        cut = canvas
    return np.asarray(cut)


def draft(picture: Image.Image, preprocessing: Preprocessing, spare: float = SPARE) -> tuple[float, float]:
    """Have a JPEG that is not decoded yet decoded at 1/2, 1/4 or 1/8 of its size, as far as it stays large enough.

    libjpeg then computes fewer values of each block, in a fraction of the time. A picture less than twice `spare` times
    as large as it is resized to, or of another format, is left alone.

    Returns:
        Width and height of what the upright picture will show, in its new pixels: `extent` of `to_pixels`.
    """
    width, height = picture.size
    turned = lies_on_its_side(picture)
    factor = 1
    if picture.format == "JPEG":
        across, down = resized((height, width) if turned else (width, height), preprocessing)
        least = (down, across) if turned else (across, down)
        factor = next(
            each
            for each in (8, 4, 2, 1)
            if each == 1
            or (
                (width >= each * spare * least[0] and height >= each * spare * least[1])
                # A last column that shows a fraction of one would be the first in a picture that EXIF turns.
                and (is_upright(picture) or width % each == height % each == 0)
            )
        )
        picture.draft(picture.mode, (width // factor, height // factor))
    return (height / factor, width / factor) if turned else (width / factor, height / factor)


def resized(size: tuple[float, float], preprocessing: Preprocessing) -> tuple[int, int]:
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


def _cut(
    picture: Image.Image,
    columns: tuple[float, float],
    rows: tuple[float, float],
    size: tuple[int, int],
    interpolation: Interpolation,
) -> Image.Image:
    """Resize the part of a picture between these columns and rows.

    One axis after the other, as Pillow does, but in an order of our own: with a box, Pillow may take the other one,
    and sharp edges would come out up to 25 levels apart. Its boxes are 32-bit floats, hence the levels that differ.
    """
    kernel, (width, height) = FILTERS[interpolation], size
    reach = _SUPPORT[interpolation] * max(1.0, (rows[1] - rows[0]) / height) + 1
    first, last = max(0, math.floor(rows[0] - reach)), min(picture.height, math.ceil(rows[1] + reach))
    band = picture.crop((0, first, picture.width, last))
    # Rounding may leave an edge a hair outside the picture, which Pillow refuses.
    band = band.resize((width, band.height), kernel, box=(columns[0], 0, min(columns[1], band.width), band.height))
    return band.resize(size, kernel, box=(0, rows[0] - first, width, min(rows[1] - first, band.height)))


def _window(have: int, want: int) -> tuple[int, int, int]:
    """Along one edge: where the crop starts, how much of the picture it shows, where that is pasted."""
    if have >= want:
        return round((have - want) / 2), want, 0
    return 0, have, (want - have) // 2
