"""Untrusted bytes to an RGB picture: formats, limits, orientation, colour modes. Knows no model and no HTTP.

Content decides what a picture is; its name and media type are never looked at.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features

from service.errors import CorruptImage, EmptyBody, ImageTooLarge, UnsupportedMedia

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
"""What is accepted, by Pillow's names. Other formats Pillow can read (EPS runs Ghostscript) are never tried."""

FIRST_FRAME_ONLY = "first_frame_only: the picture has several frames; the first was classified"
ALPHA_OVER_WHITE = "alpha_over_white: the picture is transparent; it was laid over white"

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_ORIENTATION = 0x0112  # EXIF 2.32, table 4: 1 is upright

# Pillow's own pixel limit is a global of the process; the one in the settings is checked in its place.
Image.MAX_IMAGE_PIXELS = None
# Load the parsers now instead of during the first request.
Image.init()


@dataclass(frozen=True)
class Decoded:
    """An upright RGB picture, and what was given up to get it."""

    picture: Image.Image
    warnings: tuple[str, ...]


def decode(content: bytes, max_pixels: int) -> Decoded:
    """Decode a whole file.

    Raises:
        EmptyBody: there are no bytes.
        UnsupportedMedia: the bytes are not of an accepted format.
        ImageTooLarge: the header promises more than `max_pixels`; nothing was decoded.
        CorruptImage: the bytes are of an accepted format, but broken.
    """
    if not content:
        raise EmptyBody("the body is empty; send the bytes of a picture")
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        if _looks_like_picture(content):
            raise CorruptImage("the picture's header is broken") from error
        raise UnsupportedMedia(f"the content is none of {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's parsers raise whatever the bytes make them raise
        raise CorruptImage("the picture's header is broken") from error
    if picture.width * picture.height > max_pixels:
        raise ImageTooLarge(
            f"the picture has {picture.width} x {picture.height} pixels; at most {max_pixels} are accepted"
        )
    try:
        warnings = [FIRST_FRAME_ONLY] if getattr(picture, "is_animated", False) else []
        picture.load()
        if _is_transparent(picture):
            warnings.append(ALPHA_OVER_WHITE)
        return Decoded(to_rgb(_upright(picture)), tuple(warnings))
    except Exception as error:  # as above
        raise CorruptImage("the picture is truncated or corrupt") from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode Pillow reads, as 8-bit RGB: transparency over white, deeper samples scaled and not clipped."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if _is_transparent(picture):
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if picture.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(picture)).convert("RGB")
    if picture.mode == "LAB":
        return _lab_to_rgb(picture)
    return picture.convert("RGB")


def _looks_like_picture(content: bytes) -> bool:
    return content.startswith(_MAGIC) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info


def _upright(picture: Image.Image) -> Image.Image:
    if picture.getexif().get(_ORIENTATION, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


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
