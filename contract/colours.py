"""Any picture that Pillow reads as an 8-bit RGB one: what is served is what was calibrated and evaluated.

Colours only; `contract.pixels` takes it from there. Knows no limits: `service.images` guards what comes from outside.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms


def rgb_of(picture: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What turns parts of this picture into RGB: transparency over white, deeper samples scaled and not clipped.

    Part by part, a picture of any mode needs no second copy of itself. Only what its levels mean depends on the whole.
    """
    if picture.mode.startswith(("I", "F")):
        return partial(_grey_to_rgb, white=_white(picture))
    if is_transparent(picture):
        return _over_white
    if picture.mode == "LAB":
        return _lab_to_rgb
    return lambda part: part if part.mode == "RGB" else part.convert("RGB")


def is_transparent(picture: Image.Image) -> bool:
    """Whether the picture has see-through parts, or could have."""
    return picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info


def _over_white(part: Image.Image) -> Image.Image:
    layer = part.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _white(picture: Image.Image) -> float:
    """The level that is white. Integers are 16-bit samples unless larger ones appear."""
    if picture.mode not in ("I", "F"):
        return 65_535.0
    most = float(np.max(picture.getextrema()))
    if picture.mode == "F":
        return 1.0 if most <= 1.0 else 255.0
    return 65_535.0 if most <= 65_535 else 4_294_967_295.0


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
