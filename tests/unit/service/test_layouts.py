"""Layouts that are whole and not read are told from damage; samples of more than 8 bits come with a word of caution."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from contract.colours import brightest, white_of
from contract.pixels import to_pixels
from contract.spec import Preprocessing
from service.errors import CorruptImage, UnsupportedMedia
from service.images import Opened, open_picture
from service.layouts import unread_layout

EIGHT = Preprocessing(8, 8, 1.0)
SIZES = {3: "H", 4: "I"}


def tiff(*tags: tuple[int, list[int]], data: bytes = bytes(8192)) -> bytes:
    """A TIFF of 16x16 pixels with these tags of type SHORT, and one strip."""
    shorts = {256: [16], 257: [16], 259: [1], **dict(tags)}
    entries = [(tag, 3, values) for tag, values in shorts.items()] + [(273, 4, [0]), (279, 4, [len(data)])]
    after = 8 + 2 + 12 * len(entries) + 4
    long = b"".join(struct.pack(f"<{len(v)}{SIZES[k]}", *v) for _, k, v in sorted(entries) if len(v) * k // 3 * 2 > 4)
    strip, directory, beside = after + len(long), b"", after
    for tag, kind, values in sorted(entries):
        content = struct.pack(f"<{len(values)}{SIZES[kind]}", *([strip] if tag == 273 else values))
        place = content.ljust(4, b"\0")
        if len(content) > 4:
            place, beside = struct.pack("<I", beside), beside + len(content)
        directory += struct.pack("<HHI", tag, kind, len(values)) + place
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + long + data


def saved(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


JPEG = saved(Image.new("RGB", (64, 64), (9, 200, 9)), "JPEG")
BMP = saved(Image.new("RGB", (8, 8)), "BMP")
FRAME = JPEG.index(b"\xff\xc0")


def decoded(content: bytes) -> tuple[Opened, tuple[str, ...]]:
    opened = open_picture(content, 1_000_000, EIGHT)
    return opened, opened.decode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff((258, [32] * 3), (262, [2]), (277, [3]), (339, [3] * 3)), "RGB with 3 floating point samples of 32 bits"),
        (tiff((258, [8] * 5), (262, [1]), (277, [5])), "grey with 5 unsigned samples of 8 bits"),
        (tiff((258, [64]), (262, [1]), (277, [1]), (339, [3])), "grey with 1 floating point sample of 64 bits"),
        (tiff((258, [16] * 3), (262, [8]), (277, [3])), "CIE L*a*b* with 3 unsigned samples of 16 bits"),
        (tiff((258, [8] * 3), (259, [50001]), (262, [2]), (277, [3])), "compressed with WebP"),
        (tiff((258, [8] * 3), (259, [34712]), (262, [2]), (277, [3])), "compressed with JPEG 2000"),
        (tiff((258, [1]), (259, [34661]), (262, [1]), (277, [1])), "compressed with JBIG"),
        (tiff((258, [8] * 3), (259, [999]), (262, [2]), (277, [3])), "compressed with method 999"),
        (JPEG[: FRAME + 4] + b"\x0c" + JPEG[FRAME + 5 :], "a JPEG of 12 bits a sample"),
        (JPEG[: FRAME + 1] + b"\xc3" + JPEG[FRAME + 2 :], "a lossless JPEG"),
        (BMP[:30] + struct.pack("<I", 4) + BMP[34:], "a BMP that holds a JPEG"),
        (BMP[:28] + struct.pack("<H", 2) + BMP[30:], "a BMP of 2 bits a pixel"),
    ],
)
def test_a_layout_that_is_not_read_is_named(content: bytes, words: str) -> None:
    with pytest.raises(UnsupportedMedia, match=words.replace("*", r"\*")):
        decoded(content)


@pytest.mark.parametrize(
    "content",
    [
        JPEG[:300],
        tiff((258, [8] * 3), (262, [2]), (277, [3]), data=b"")[:-40],
        tiff((258, [8] * 3), (259, [5]), (262, [2]), (277, [3]), data=b"\xff" * 100),
        BMP[:40],
    ],
    ids=["jpeg", "tiff", "tiff data", "bmp"],
)
def test_damage_is_still_damage(content: bytes) -> None:
    assert unread_layout(content) == ""
    with pytest.raises(CorruptImage):
        decoded(content)


@pytest.mark.parametrize("bits", [1, 8, 12, 16])
def test_what_is_read_is_not_named(bits: int) -> None:
    content = tiff((258, [bits]), (262, [1]), (277, [1]))
    assert unread_layout(content) == ""
    decoded(content)


@pytest.mark.parametrize(
    ("most", "white"), [(0.7, 1), (1.0, 1), (1.5, 255), (255.0, 255), (9_828.0, 65_535), (1e6, 1e6), (0.0, 1)]
)
def test_white_of_floats_is_the_first_range_that_holds_them(most: float, white: float) -> None:
    levels = np.linspace(0, most, 64, dtype=np.float32).reshape(8, 8)
    picture = Image.fromarray(levels)
    assert brightest(picture) == pytest.approx(most)
    assert white_of(picture, most) == white
    opened, warnings = decoded(saved(picture, "TIFF"))
    assert warnings == (f"float_samples: the picture is of floats; {white:g} was taken for white, and 0 for black",)
    assert opened.pixels()[-1, -1, 0] == round(255 * most / white)


def test_floats_that_are_no_numbers_are_black() -> None:
    levels = np.array([[np.nan, np.inf], [-np.inf, 0.5]], np.float32)
    assert brightest(Image.fromarray(levels)) == 0.5
    pixels = to_pixels(Image.fromarray(levels), Preprocessing(2, 2, 1.0))
    assert pixels[:, :, 0].tolist() == [[0, 255], [0, 128]]


@pytest.mark.parametrize(("most", "warned"), [(0, False), (200, True), (4_095, True), (4_096, False), (65_535, False)])
@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_dark_samples_of_sixteen_bits_are_told(most: int, warned: bool, mode: str) -> None:
    levels = np.linspace(0, most, 64).reshape(8, 8).astype(np.dtype({"I": "=i4", "I;16": "<u2", "I;16B": ">u2"}[mode]))
    picture = Image.frombytes(mode, (8, 8), levels.tobytes())
    assert brightest(picture) == most
    _, warnings = decoded(saved(picture, "TIFF"))
    words = f"dark_samples: the brightest of 16-bit samples is {most} of 65535"
    assert [warning.startswith(words) for warning in warnings] == [True] * warned
