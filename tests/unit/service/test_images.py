"""Untrusted bytes to RGB: every format, every mode, every way to be broken."""

import contextlib
import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, features
from PIL.ImageFile import ImageFile

from contract.colours import rgb_of
from contract.orientation import Upright
from contract.pixels import Size, to_pixels
from contract.spec import Preprocessing
from service.errors import CorruptImage, EmptyBody, ImageTooLarge, Overloaded, UnsupportedMedia
from service.images import ALPHA_OVER_WHITE, FIRST_FRAME_ONLY, Opened, open_picture
from tests.fakes import a_picture, encoded, turned

LIMIT = 1_000_000
GRADIENT = Image.fromarray(np.add.outer(np.arange(24), np.arange(32) * 7).astype(np.uint8))


LARGE = Preprocessing(512, 512, crop_pct=1.0)
"""So large that nothing is decoded at reduced scale."""


class Decoded(NamedTuple):
    """A whole picture, upright and in RGB."""

    picture: Image.Image
    extent: Size | None
    warnings: tuple[str, ...]


def decode(content: bytes, limit: int, preprocessing: Preprocessing = LARGE) -> Decoded:
    opened = open_picture(content, limit, preprocessing)
    warnings = opened.decode()
    upright = Upright.of(opened.picture)
    return Decoded(rgb_of(opened.picture)(upright.part((0, 0, *upright.size))), opened.extent, warnings)


def levels(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.asarray(picture).astype(np.int16)


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_lossless_formats_decode_to_the_same_pixels(picture_format: str) -> None:
    options = {"lossless": True} if picture_format == "WEBP" else {}
    decoded = decode(encoded(a_picture(), picture_format, **options), LIMIT)
    assert decoded.picture.mode == "RGB"
    assert np.array_equal(levels(decoded.picture), levels(a_picture()))
    assert decoded.warnings == ()


@pytest.mark.parametrize("picture_format", ["JPEG", *(["AVIF"] if features.check("avif") else [])])
def test_lossy_formats_decode_to_nearly_the_same_pixels(picture_format: str) -> None:
    decoded = decode(encoded(a_picture(), picture_format, quality=95), LIMIT)
    assert np.abs(levels(decoded.picture) - levels(a_picture())).mean() < 6


def sixteen_bit(picture_format: str) -> bytes:
    return encoded(Image.fromarray(np.asarray(GRADIENT).astype(np.uint16) * 257), picture_format)


GREY_TWINS = {
    "L": encoded(GRADIENT),
    "16-bit PNG": sixteen_bit("PNG"),
    "16-bit TIFF": sixteen_bit("TIFF"),
    "float TIFF of 0 to 1": encoded(Image.fromarray(np.asarray(GRADIENT).astype(np.float32) / 255), "TIFF"),
    "float TIFF of 0 to 255": encoded(Image.fromarray(np.asarray(GRADIENT).astype(np.float32)), "TIFF"),
    "opaque LA": encoded(GRADIENT.convert("LA")),
    "palette": encoded(GRADIENT.convert("P")),
}


@pytest.mark.parametrize("content", GREY_TWINS.values(), ids=GREY_TWINS.keys())
def test_grey_modes_equal_their_rgb_twin(content: bytes) -> None:
    assert np.abs(levels(decode(content, LIMIT).picture) - levels(GRADIENT.convert("RGB"))).max() <= 1


def test_one_bit_is_black_and_white() -> None:
    decoded = decode(encoded(GRADIENT.point(lambda level: 255 * (level > 127)).convert("1")), LIMIT)
    assert set(np.unique(levels(decoded.picture)).tolist()) == {0, 255}


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces_come_back_as_rgb(mode: str) -> None:
    picture = a_picture((200, 60, 40))
    if mode == "LAB":
        lab = Image.new("LAB", (8, 8), (136, 180, 170))  # CIE L*a*b* of a brick red, offset by 128
        decoded = decode(encoded(lab, "TIFF"), LIMIT).picture.getpixel((4, 4))
        assert isinstance(decoded, tuple)
        assert decoded[0] > 150 > decoded[1]
    else:
        decoded_picture = decode(encoded(picture.convert(mode), "TIFF"), LIMIT).picture
        assert np.abs(levels(decoded_picture) - levels(picture)).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(mode: str) -> None:
    layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    decoded = decode(encoded(layer, transparency=layer.getpixel((0, 0))) if mode == "P" else encoded(layer), LIMIT)
    assert decoded.picture.getpixel((3, 3)) == (255, 255, 255)
    assert decoded.warnings == (ALPHA_OVER_WHITE,)


def test_a_transparent_colour_of_an_rgb_png_lies_over_white() -> None:
    decoded = decode(encoded(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3)), LIMIT)
    assert decoded.picture.getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_turned_upright(picture_format: str, orientation: int) -> None:
    decoded = decode(turned(a_picture(), orientation, picture_format), LIMIT).picture
    assert decoded.size == a_picture().size
    assert np.abs(levels(decoded) - levels(a_picture())).mean() < 6


@pytest.mark.parametrize("picture_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame_with_a_warning(picture_format: str) -> None:
    frames = [a_picture((0, 0, 255)) for _ in range(3)]
    content = encoded(a_picture(), picture_format, save_all=True, append_images=frames)
    decoded = decode(content, LIMIT)
    assert decoded.warnings == (FIRST_FRAME_ONLY,)
    assert np.abs(levels(decoded.picture) - levels(a_picture())).mean() < 6


def test_a_jpeg_with_trailing_bytes_decodes() -> None:
    assert decode(encoded(a_picture(), "JPEG") + b"\0" * 100, LIMIT).picture.size == (32, 24)


def test_no_bytes_are_no_picture() -> None:
    with pytest.raises(EmptyBody):
        decode(b"", LIMIT)


@pytest.mark.parametrize(
    "content",
    [
        b"a line of text\n",
        b"PK\x03\x04 a zip",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"SIMPLE  =                    T" + b" " * 2850,
        b"P6 1 1 255 abc",
        b"\0" * 4096,
    ],
    ids=["text", "zip", "svg", "pdf", "eps", "fits", "ppm", "zeros"],
)
def test_content_that_is_no_accepted_picture_is_refused(content: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="JPEG, PNG"):
        decode(content, LIMIT)


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_a_truncated_picture_is_corrupt(picture_format: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    content = encoded(noise, picture_format)
    with pytest.raises(CorruptImage):
        decode(content[: int(len(content) * kept)], LIMIT)


def test_a_header_alone_is_corrupt() -> None:
    with pytest.raises(CorruptImage):
        decode(b"\xff\xd8\xff\xe0", LIMIT)


def test_a_bomb_is_refused_by_its_header() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    with pytest.raises(ImageTooLarge, match="50000 x 50000"):
        decode(bomb, 50_000_000)


def test_garbled_bytes_are_an_error_of_ours_or_a_picture() -> None:
    random = np.random.default_rng(1)
    for picture_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        content = bytearray(encoded(a_picture(), picture_format))
        for _ in range(150):
            garbled = bytearray(content)
            for position in random.integers(0, len(garbled), 6):
                garbled[position] = int(random.integers(0, 256))
            with contextlib.suppress(CorruptImage, UnsupportedMedia, ImageTooLarge):
                assert decode(bytes(garbled), LIMIT).picture.mode == "RGB"


def test_a_picture_file_object_is_not_needed_after_decoding() -> None:
    content = encoded(a_picture(), "JPEG")
    picture = decode(content, LIMIT).picture
    assert Image.open(io.BytesIO(content)).size == picture.size
    picture.resize((4, 4))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [(1203, 801), (801, 1203), (1000, 1000)])
def test_a_jpeg_much_too_large_is_decoded_small_and_shows_the_same(size: tuple[int, int], orientation: int) -> None:
    smooth = np.random.default_rng(1).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    content = turned(Image.fromarray(smooth).resize(size, Image.Resampling.BICUBIC), orientation, "JPEG")
    preprocessing = Preprocessing(32, 32, crop_pct=0.9)
    reduced, full = decode(content, 2_000_000, preprocessing), decode(content, 2_000_000)
    if orientation == 1 or size == (1000, 1000):
        assert reduced.picture.width < full.picture.width / 3
        assert reduced.extent is not None
        assert reduced.picture.width - 1 < reduced.extent[0] <= reduced.picture.width
    there = to_pixels(full.picture, preprocessing).astype(int)
    here = to_pixels(reduced.picture, preprocessing, reduced.extent).astype(int)
    assert np.abs(here - there).mean() < 1
    assert np.abs(here - there).max() < 16


@pytest.mark.parametrize(("size", "picture_format"), [((190, 190), "JPEG"), ((1000, 1000), "PNG")])
def test_other_pictures_are_decoded_as_they_are(size: tuple[int, int], picture_format: str) -> None:
    decoded = decode(encoded(a_picture(size=size), picture_format), 2_000_000, Preprocessing(32, 32, 1.0))
    assert decoded.extent is None
    assert decoded.picture.size == size


def test_a_thin_jpeg_is_decoded_too() -> None:
    for size in ((1, 10_000), (10_000, 1)):
        decoded = decode(encoded(a_picture(size=size), "JPEG"), 2_000_000, Preprocessing(32, 32, 0.9))
        assert to_pixels(decoded.picture, Preprocessing(32, 32, 0.9), decoded.extent).shape == (32, 32, 3)


class Starved(ImageFile):
    """A picture that there is no memory for."""

    def _open(self) -> None:
        pass

    def load(self) -> None:
        raise MemoryError


def test_a_lack_of_memory_is_ours() -> None:
    starved = Starved.__new__(Starved)
    with pytest.raises(Overloaded, match="no memory"):
        Opened(starved, None, LARGE, (1, 1), 0).decode()
