"""The one piece of code that turns a picture into a model's input array.

It is timm's evaluation transform (`timm.data.create_transform(is_training=False)`) without torch, in a fifth of the
time: what the crop cuts away is not computed, and vector instructions do the rest. 3 in 1,000 values of a photograph
come out one level apart, and none more than two. Served, calibrated and evaluated are the same pixels. Held to that by
tests/unit/contract/test_pixels_timm.py; docs/decisions/0008-resize-by-simd.md has the figures.

A picture of any mode and orientation stays as it was decoded. It becomes upright RGB in bands of rows, each of which is
resized at once, so that the memory needed beside the picture does not grow with it.
"""

import math

import numpy as np
import numpy.typing as npt
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from contract.colours import is_opaque_rgb, rgb_of
from contract.orientation import Upright
from contract.spec import CropMode, Interpolation, Preprocessing

FILTERS = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BOX: Image.Resampling.BOX,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.HAMMING: Image.Resampling.HAMMING,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}
_SIMD = {
    Interpolation.BOX: ResizeAlg.convolution(FilterType.box),
    Interpolation.BILINEAR: ResizeAlg.convolution(FilterType.bilinear),
    Interpolation.BICUBIC: ResizeAlg.convolution(FilterType.catmull_rom),
    Interpolation.LANCZOS: ResizeAlg.convolution(FilterType.lanczos3),
}
"""The same filters as vector instructions compute them, where they are the same; Pillow computes the others."""
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
BAND_PIXELS = 2**18
"""Pixels that are RGB at a time, or one row where that is longer: a photograph of 500 x 375 is one band."""
_BAND_BYTES = 48
"""A pixel of a band while it becomes RGB, at most: 16-bit samples are scaled as 64-bit numbers."""
_LEAN_PIXELS = 2**23
"""Most pixels between the two axes of a resize (32 MB), where the other axis first leaves fewer."""

Size = tuple[float, float]
Edges = tuple[float, float]
"""Where a cut begins and ends along one axis, in pixels of the picture."""


def to_pixels(picture: Image.Image, preprocessing: Preprocessing, extent: Size | None = None) -> npt.NDArray[np.uint8]:
    """Resize and crop a picture to uint8 RGB `[height, width, 3]`, upright.

    Args:
        picture: a picture of any size and mode; its EXIF orientation is followed.
        preprocessing: the input's size, and how to get there.
        extent: width and height of what the upright picture shows, in its own pixels, where its last column or row
            shows only a fraction of one (see `draft`); its size where it is None.
    """
    picture.load()  # Pillow turns a TIFF as it loads it: size and orientation are known only then.
    source = Upright.of(picture)
    wide, high = extent or source.size
    across, down = resized((wide, high), preprocessing)
    left, width, paste_left = _window(across, preprocessing.width)
    top, height, paste_top = _window(down, preprocessing.height)
    columns = left * wide / across, (left + width) * wide / across
    rows = top * high / down, (top + height) * high / down
    cut = _cut(source, columns, rows, (width, height), preprocessing.interpolation)
    if (width, height) != (preprocessing.width, preprocessing.height):
        canvas = Image.new("RGB", (preprocessing.width, preprocessing.height), preprocessing.fill)
        canvas.paste(cut, (paste_left, paste_top))
        cut = canvas
    return np.asarray(cut)


def seen_box(size: Size, preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Where the model's input lies on the upright picture: left, top, right and bottom edge, in the picture's pixels.

    It reaches outside the picture where the input has a frame around it.
    """
    (wide, high), (across, down) = size, resized(size, preprocessing)
    left, _, paste_left = _window(across, preprocessing.width)
    top, _, paste_top = _window(down, preprocessing.height)
    columns, rows = (left - paste_left) * wide / across, (top - paste_top) * high / down
    return columns, rows, columns + preprocessing.width * wide / across, rows + preprocessing.height * high / down


def draft(picture: Image.Image, preprocessing: Preprocessing, spare: float = SPARE) -> Size | None:
    """Have a JPEG that is not decoded yet decoded at 1/2, 1/4 or 1/8 of its size, as far as it stays large enough.

    libjpeg then computes fewer values of each block, in a fraction of the time. A picture less than twice `spare` times
    as large as it is resized to, or of another format, is left alone.

    Returns:
        Width and height of what the upright picture will show, in its new pixels: `extent` of `to_pixels`. None where
        the picture is left alone.
    """
    if picture.format not in ("JPEG", "MPO"):
        return None
    source = Upright.of(picture)
    (wide, high), (across, down) = source.size, resized(source.size, preprocessing)
    for factor in (8, 4, 2):
        large_enough = wide >= factor * spare * across and high >= factor * spare * down
        # A last column that shows a fraction of one would be the first in a picture that EXIF turns.
        if large_enough and (source.orientation == 1 or wide % factor == high % factor == 0):
            picture.draft(picture.mode, (picture.width // factor, picture.height // factor))
            return wide / factor, high / factor
    return None


def resizing_bytes(size: tuple[int, int], preprocessing: Preprocessing) -> int:
    """Bytes that `to_pixels` takes at most beside a picture of `size`: a band in its colours, and one axis resized."""
    across, down = preprocessing.width * size[1], preprocessing.height * size[0]
    lean = min(max(across, down), max(_LEAN_PIXELS, min(across, down)))
    return _BAND_BYTES * max(BAND_PIXELS, *size) + 4 * lean


def resized(size: Size, preprocessing: Preprocessing) -> tuple[int, int]:
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
    source: Upright, columns: Edges, rows: Edges, size: tuple[int, int], interpolation: Interpolation
) -> Image.Image:
    """Resize the part of a picture between these columns and rows to `size`, in RGB: across first, as Pillow does.

    Down first where that shrinks it and across would stretch it, as Pillow does as well; and where a tall and thin
    picture would need much memory in between.
    """
    (width, height), (wide, high) = size, (columns[1] - columns[0], rows[1] - rows[0])
    if (height < high and width >= wide) or width * high > max(_LEAN_PIXELS, height * wide):
        turned = _axis_by_axis(source.transposed(), rows, columns, (height, width), interpolation)
        return turned.transpose(Image.Transpose.TRANSPOSE)
    return _axis_by_axis(source, columns, rows, size, interpolation)


def _axis_by_axis(
    source: Upright, columns: Edges, rows: Edges, size: tuple[int, int], interpolation: Interpolation
) -> Image.Image:
    """Resize across, band by band, then down.

    Levels between the axes are clipped to 8 bits, so the order of the axes shows at sharp edges, by up to 25 levels.
    With both axes in one call, Pillow may choose the order by itself, and the SIMD code always goes down first.
    """
    (width, height), (wide, high) = size, source.size
    left, right = _reached(columns, width, wide, interpolation)
    top, bottom = _reached(rows, height, high, interpolation)
    rgb, step = rgb_of(source.picture), max(1, BAND_PIXELS // (right - left))
    # Pillow has edges as 32-bit floats, which are finer the nearer they are to zero.
    as_it_is = source.orientation == 1 and is_opaque_rgb(source.picture) and interpolation in _SIMD

    def across(first: int, last: int) -> Image.Image:
        if as_it_is:  # Most photographs: nothing of them is copied.
            band, start, row = source.picture, 0, first
        else:
            band, start, row = rgb(source.part((left, first, right, last))), left, 0
        # Rounding may leave an edge a hair outside the picture, which Pillow refuses.
        box = columns[0] - start, row, min(columns[1] - start, band.width), row + last - first
        return _along_one_axis(band, (width, last - first), box, interpolation)

    if bottom - top <= step:
        lean = across(top, bottom)
    else:
        lean = Image.new("RGB", (width, bottom - top), None)
        for row in range(top, bottom, step):
            lean.paste(across(row, min(row + step, bottom)), (0, row - top))
    return _along_one_axis(lean, size, (0, rows[0] - top, width, min(rows[1] - top, lean.height)), interpolation)


def _along_one_axis(
    picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float], interpolation: Interpolation
) -> Image.Image:
    """Resize what is inside `box` of an RGB picture; along the other axis it has its size already."""
    if interpolation not in _SIMD:
        return picture.resize(size, FILTERS[interpolation], box=box)
    result, (left, upper, right, lower) = Image.new("RGB", size, None), box
    options = ResizeOptions(resize_alg=_SIMD[interpolation], crop_box=CropBox(left, upper, right - left, lower - upper))
    Resizer().resize_pil(picture, result, options)
    return result


def _reached(edges: Edges, size: int, most: int, interpolation: Interpolation) -> tuple[int, int]:
    """The first and last of `most` pixels along an axis that decide what is between `edges`, resized to `size`."""
    reach = _SUPPORT[interpolation] * max(1.0, (edges[1] - edges[0]) / size) + 1
    return max(0, math.floor(edges[0] - reach)), min(most, math.ceil(edges[1] + reach))


def _window(have: int, want: int) -> tuple[int, int, int]:
    """Along one edge: where the crop starts, how much of the picture it shows, where that is pasted."""
    if have >= want:
        return round((have - want) / 2), want, 0
    return 0, have, (want - have) // 2
