"""Untrusted bytes to an RGB picture: formats and limits. Knows no model and no HTTP.

Content decides what a picture is; its name and media type are never looked at.
"""

import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError, features

from contract.colours import is_transparent, upright_rgb
from contract.pixels import draft
from contract.spec import Preprocessing
from service.errors import CorruptImage, EmptyBody, ImageTooLarge, UnsupportedMedia

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
"""What is accepted, by Pillow's names. Other formats Pillow can read (EPS runs Ghostscript) are never tried."""

FIRST_FRAME_ONLY = "first_frame_only: the picture has several frames; the first was classified"
ALPHA_OVER_WHITE = "alpha_over_white: the picture is transparent; it was laid over white"

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")

# Pillow's own pixel limit is a global of the process; the one in the settings is checked in its place.
Image.MAX_IMAGE_PIXELS = None
# Load the parsers now instead of during the first request.
Image.init()


@dataclass(frozen=True)
class Decoded:
    """An upright RGB picture, and what was given up to get it."""

    picture: Image.Image
    extent: tuple[float, float]
    """Width and height of what it shows, in its pixels (see `contract.pixels.to_pixels`)."""
    warnings: tuple[str, ...]


def decode(content: bytes, max_pixels: int, preprocessing: Preprocessing) -> Decoded:
    """Decode a whole file, a JPEG no larger than `preprocessing` has use for.

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
        extent = draft(picture, preprocessing)
        picture.load()
        if is_transparent(picture):
            warnings.append(ALPHA_OVER_WHITE)
        return Decoded(upright_rgb(picture), extent, tuple(warnings))
    except Exception as error:  # as above
        raise CorruptImage("the picture is truncated or corrupt") from error


def _looks_like_picture(content: bytes) -> bool:
    return content.startswith(_MAGIC) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
