"""Any picture that Pillow reads as an upright 8-bit RGB one: what is served is what was calibrated and evaluated.

Colour and orientation only; `contract.pixels` takes it from there. Knows no limits: `service.images` guards what comes
from outside.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

_ORIENTATION = 0x0112  # EXIF 2.32, table 4: 1 is upright


def upright_rgb(picture: Image.Image) -> Image.Image:
    """The picture as EXIF says it is to be looked at, in RGB (see `to_rgb`)."""
    return to_rgb(_upright(picture))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode Pillow reads, as 8-bit RGB: transparency over white, deeper samples scaled and not clipped."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if is_transparent(picture):
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if picture.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(picture)).convert("RGB")
    if picture.mode == "LAB":
        return _lab_to_rgb(picture)
    return picture.convert("RGB")


def is_transparent(picture: Image.Image) -> bool:
    """Whether the picture has see-through parts, or could have."""
    return picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info


def is_upright(picture: Image.Image) -> bool:
    """Whether EXIF says nothing else."""
    orientation: int = picture.getexif().get(_ORIENTATION, 1)
    return orientation == 1


def lies_on_its_side(picture: Image.Image) -> bool:
    """Whether EXIF says that width and height change places in the upright picture."""
    return picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)


def _upright(picture: Image.Image) -> Image.Image:
    return picture if is_upright(picture) else ImageOps.exif_transpose(picture)


def _to_eight_bits(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey levels of modes I;16*, I and F as uint8. Integers are 16-bit samples unless larger ones appear."""
    levels = np.asarray(picture).astype(np.float64)
    if picture.mode == "F":
        white = 1.0 if levels.max(initial=0.0) <= 1.0 else 255.0
    else:
        white = 65_535.0 if levels.max(initial=0.0) <= 65_535 else 4_294_967_295.0
    eight_bits: npt.NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(levels) / white, 0, 1) * 255).astype(np.uint8)
    return eight_bits


def _lab_to_rgb(picture: Image.Image) -> Image.Image:
    rgb = ImageCms.profileToProfile(
        picture, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if rgb is None:
        raise ValueError("no conversion from LAB")
    return rgb
