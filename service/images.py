"""Untrusted bytes to a picture: formats and limits. Pillow's exceptions stop here. Knows no HTTP.

Content decides what a picture is; its name and media type are never looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from contract.colours import brightest, is_deep, is_transparent, white_of
from contract.orientation import Upright
from contract.pixels import Size, draft, resizing_bytes, to_pixels
from contract.spec import Preprocessing
from service.arrivals import what_arrived, without_line_ends
from service.avif import largest_frame
from service.errors import CorruptImage, EmptyBody, ImageTooLarge, Overloaded, UnsupportedMedia, VitrineError
from service.jpeg import decoded
from service.layouts import unread_layout
from service.metadata import drop_large_exif, without_metadata
from service.structure import CountedBytes, check_layout, check_tags, decoder_bytes, picture_bytes, size_of_webp

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
"""What is accepted, by Pillow's names. Other formats Pillow can read (EPS runs Ghostscript) are never tried."""

FIRST_FRAME_ONLY = "first_frame_only: the picture has several frames; the first was classified"
ALPHA_OVER_WHITE = "alpha_over_white: the picture is transparent; it was laid over white"

DARK_SAMPLES = (
    "dark_samples: the brightest of 16-bit samples is {most:.0f} of 65535; samples of fewer bits look nearly black, "
    "scale them up"
)
FLOAT_SAMPLES = "float_samples: the picture is of floats; {white:g} was taken for white, and 0 for black"
_JPEG_BLOCK_BYTES = 2**20
"""Given to libjpeg at a time: its thread lets go of Python's lock, and waits for it again, at each block."""
_DARK = 4096
"""Of 16-bit samples: cameras and microscopes of 12 bits stay below it."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")

# Pillow's own pixel limit is a global of the process; the one in the settings is checked in its place.
Image.MAX_IMAGE_PIXELS = None
# Load the parsers now instead of during the first request.
Image.init()


Content = bytes
"""Of a file; `Opened` has another meaning for the name of the type."""


@dataclass
class Opened:
    """A picture whose header was read, and nothing more; until it is decoded."""

    picture: Image.Image
    extent: Size | None
    """Of a JPEG that will be decoded at reduced scale (see `contract.pixels.to_pixels`)."""
    preprocessing: Preprocessing
    stored_size: tuple[int, int]
    """Width and height of the whole picture as its header has them."""
    bytes: int
    """What decoding, resizing and cropping it will take at most."""
    content: Content = b""
    """The file, which tells why it is broken."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture, upright. After decoding only: Pillow decodes a PNG to read its EXIF,
        and turns a TIFF as it decodes it.
        """
        width, height = self.stored_size
        on_its_side = Upright.of(self.picture).lies_on_its_side
        turned = self.picture.format == "TIFF" and self.picture.size == (height, width)
        return (height, width) if on_its_side or turned else (width, height)

    def decode(self) -> tuple[str, ...]:
        """Decode it, and say what was given up.

        Raises:
            CorruptImage: the picture is broken.
            Overloaded: there is no memory for it.
        """
        with _pillow_errors("the picture is truncated or corrupt", self.content):
            animated = self.picture.format != "MPO" and getattr(self.picture, "is_animated", False)
            whole = decoded(self.picture, self.content) if self.extent is None else None
            if whole is not None:
                self.picture = whole
            self.picture.load()
            given_up = ((animated, FIRST_FRAME_ONLY), (is_transparent(self.picture), ALPHA_OVER_WHITE))
            return (*(warning for applies, warning in given_up if applies), *_of_deep_samples(self.picture))

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The decoded picture as the model's input, uint8 `[height, width, 3]`.

        Raises:
            CorruptImage: its colours cannot be made out.
            Overloaded: there is no memory for it.
        """
        with _pillow_errors("the picture's colours are corrupt", self.content):
            return to_pixels(self.picture, self.preprocessing, self.extent)


def open_picture(content: bytes, max_pixels: int, preprocessing: Preprocessing) -> Opened:
    """Read the header of a whole file. A JPEG will be decoded no larger than `preprocessing` has use for.

    Raises:
        EmptyBody: there are no bytes.
        UnsupportedMedia: the bytes are not of an accepted format.
        ImageTooLarge: the header promises more than `max_pixels`.
        ImageTooComplex: the file would take too long to decode.
        CorruptImage: the bytes are of an accepted format, but broken.
    """
    if not content:
        raise EmptyBody("the body is empty; send the bytes of a picture")
    with _pillow_errors("the picture's header is broken", content):
        # Before Pillow takes memory for the one, makes objects of the other, and believes the container of the third.
        _check_size(size_of_webp(content) or (0, 0), max_pixels)
        check_tags(content)
        frame = largest_frame(content)
        _check_size((frame, 1), max_pixels)
        try:
            picture = Image.open(CountedBytes(without_metadata(content)), formats=FORMATS)
        except UnidentifiedImageError as error:
            known = what_arrived(content)
            if _looks_like_picture(content) and not known:
                raise
            formats = f"the content is none of {', '.join(FORMATS)}"
            raise UnsupportedMedia(f"{formats}: it is {known}" if known else formats) from error
        _check_size(picture.size, max_pixels)
        drop_large_exif(picture)
        scans = check_layout(picture, content)
        beside = decoder_bytes(picture, content, scans, frame)
        stored_size = picture.size
        if picture.format in ("JPEG", "MPO"):
            picture.decodermaxblock = _JPEG_BLOCK_BYTES
        extent = draft(picture, preprocessing)
        needed = beside + picture_bytes(picture) + resizing_bytes(picture.size, preprocessing)
        return Opened(picture, extent, preprocessing, stored_size, needed, content)


def _of_deep_samples(picture: Image.Image) -> tuple[str, ...]:
    """What a caller must know of samples of more than 8 bits, where their meaning is a guess."""
    if not is_deep(picture):
        return ()
    most = brightest(picture)
    if picture.mode == "F":
        return (FLOAT_SAMPLES.format(white=white_of(picture, most)),)
    return (DARK_SAMPLES.format(most=most),) if 0 < most < _DARK else ()


@contextmanager
def _pillow_errors(problem: str, content: Content) -> Iterator[None]:
    """Whatever Pillow raises is the picture's fault, but for memory: its parsers raise what bytes make them raise."""
    try:
        yield
    except VitrineError:
        raise
    except MemoryError as error:
        raise Overloaded("there is no memory left for this picture; try again shortly") from error
    except Exception as error:
        if layout := unread_layout(content):
            raise UnsupportedMedia(f"the content is {layout}") from error
        lost = without_line_ends(content)
        raise CorruptImage(f"{problem}; this is {lost}" if lost else problem) from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLarge(f"the picture has {width} x {height} pixels; at most {max_pixels} are accepted")


def _looks_like_picture(content: bytes) -> bool:
    return content.startswith(_MAGIC) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
