"""Any picture that Pillow reads as an 8-bit RGB one: what is served is what was calibrated and evaluated.

Colours only; `contract.pixels` takes it from there. Knows no limits: `service.images` guards what comes from outside.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_BAND_PIXELS = 2**18
"""Looked at at a time."""


def rgb_of(picture: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What turns parts of this picture into RGB: transparency over white, deeper samples scaled and not clipped.

    Part by part, a picture of any mode needs no second copy of itself. Only what its levels mean depends on the whole.
    """
    if is_deep(picture):
        return partial(_grey_to_rgb, white=white_of(picture, brightest(picture)))
    if is_transparent(picture):
        return _over_white
    if picture.mode == "LAB":
        return _lab_to_rgb
    return lambda part: part if part.mode == "RGB" else part.convert("RGB")


def is_opaque_rgb(picture: Image.Image) -> bool:
    """Whether `rgb_of` leaves the picture as it is."""
    return picture.mode == "RGB" and not is_transparent(picture)


def is_transparent(picture: Image.Image) -> bool:
    """Whether the picture has see-through parts, or could have."""
    return picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info


def _over_white(part: Image.Image) -> Image.Image:
    layer = part.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def is_deep(picture: Image.Image) -> bool:
    """Whether its samples have more than 8 bits."""
    return picture.mode.startswith(("I", "F"))


def white_of(picture: Image.Image, most: float) -> float:
    """The level that is white in a picture of deep samples, of which `most` is the brightest.

    Integers are 16-bit samples unless larger ones appear. Floats say nothing of their range: it is the first of 0..1,
    0..255 and 0..65535 that holds them all, else up to the brightest.
    """
    if picture.mode == "F":
        return next((white for white in (1.0, 255.0, 65_535.0) if most <= white), most)
    return 65_535.0 if picture.mode != "I" or most <= 65_535 else 4_294_967_295.0


def brightest(picture: Image.Image) -> float:
    """The highest finite level of a picture of deep samples; 0 where none is above it."""
    width, height = picture.size
    step, most = max(1, _BAND_PIXELS // width), 0.0
    for row in range(0, height, step):
        levels = np.asarray(picture.crop((0, row, width, min(row + step, height))))
        most = max(most, float(np.max(levels, initial=0.0, where=np.isfinite(levels))))
    return most


def _grey_to_rgb(part: Image.Image, white: float) -> Image.Image:
    """Grey levels of modes I;16*, I and F; those of a level that the file calls transparent are white."""
    levels: npt.NDArray[np.float64] = np.asarray(part).astype(np.float64)
    eight_bits = np.rint(np.clip(np.nan_to_num(levels) / white, 0, 1) * 255).astype(np.uint8)
    if "transparency" in part.info:
        eight_bits[levels == part.info["transparency"]] = 255
    return Image.fromarray(eight_bits).convert("RGB")


def _lab_to_rgb(part: Image.Image) -> Image.Image:
    rgb = ImageCms.profileToProfile(
        part, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if rgb is None:
        raise ValueError("no conversion from LAB")
    return rgb
