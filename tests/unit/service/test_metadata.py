"""What a file says beside its picture never keeps the picture from being read."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from contract.spec import Preprocessing
from service.images import open_picture
from service.metadata import without_metadata
from tests.fakes import encoded

INPUT = Preprocessing(16, 16, 1.0)
PICTURE = Image.linear_gradient("L").convert("RGB").resize((40, 30))


def pixels(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    opened = open_picture(content, 1_000_000, INPUT)
    opened.decode()
    return opened.pixels()


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", right if checksum is None else checksum)


def with_chunk(added: bytes, before: bytes = b"IDAT") -> bytes:
    content = encoded(PICTURE, "PNG")
    at = content.index(before) - 4
    return content[:at] + added + content[at:]


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def large_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "x" * 2_000_000, zip=True)
    return encoded(PICTURE, "PNG", pnginfo=text)


PNGS = {
    "2 MB of text": large_text(),
    "2 MB of profile": encoded(PICTURE, "PNG", icc_profile=bytes(2_000_000)),
    "text with a wrong checksum": with_chunk(chunk(b"tEXt", b"a\0b", checksum=0)),
    "a profile that does not unpack": with_chunk(chunk(b"iCCP", b"icc\0\0not zlib")),
    "gamma of no length": with_chunk(chunk(b"gAMA", b"")),
    "an unknown chunk after the pixels": with_chunk(chunk(b"prIv", b"x", checksum=1), before=b"IEND"),
    "EXIF with a wrong checksum": with_chunk(chunk(b"eXIf", exif(6).tobytes()[6:], checksum=0)),
    "EXIF that is none": with_chunk(chunk(b"eXIf", b"nonsense")),
    "EXIF of 3 MB": with_chunk(chunk(b"eXIf", exif(6).tobytes()[6:] + bytes(3_000_000))),
}


@pytest.mark.parametrize("content", PNGS.values(), ids=PNGS.keys())
def test_a_png_is_read_whatever_is_beside_its_pixels(content: bytes) -> None:
    assert np.array_equal(pixels(content), pixels(encoded(PICTURE, "PNG")))


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP", "JPEG"])
def test_damaged_exif_leaves_the_picture_as_it_is_stored(picture_format: str) -> None:
    options = {"lossless": True} if picture_format == "WEBP" else {}
    content = encoded(PICTURE, picture_format, exif=exif(6).tobytes(), **options)
    at = content.index(b"MM\0*" if b"MM\0*" in content else b"II*\0")
    damaged = bytearray(content)
    damaged[at + 2 : at + 4] = b"\7\7"
    if picture_format == "PNG":
        kind = content.index(b"eXIf")
        (length,) = struct.unpack_from(">I", content, kind - 4)
        damaged[kind + 4 + length : kind + 8 + length] = struct.pack(
            ">I", zlib.crc32(damaged[kind : kind + 4 + length])
        )
    assert np.array_equal(pixels(bytes(damaged)), pixels(encoded(PICTURE, picture_format, **options)))


def test_what_is_part_of_the_picture_stays() -> None:
    turned = encoded(PICTURE, "PNG", exif=exif(6).tobytes())
    assert np.array_equal(pixels(turned), pixels(encoded(PICTURE.transpose(Image.Transpose.ROTATE_270), "PNG")))
    seen_through = encoded(PICTURE.quantize(8), "PNG", transparency=0)
    assert without_metadata(seen_through) == seen_through
    frames = encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(180)])
    assert without_metadata(frames) == frames


def test_other_files_and_broken_ones_are_left_alone() -> None:
    for content in (b"", b"\x89PNG\r\n\x1a\n", encoded(PICTURE, "JPEG"), encoded(PICTURE, "PNG")[:60]):
        assert without_metadata(content) == content
