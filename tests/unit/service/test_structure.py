"""Files that are cheap to send and dear to decode are refused before that; what decoding takes is known."""

import struct
import zlib

import pytest
from PIL import Image

from contract.spec import Preprocessing
from service.errors import CorruptImage, ImageTooComplex, ImageTooLarge, UnsupportedMedia
from service.images import Opened, open_picture
from service.structure import CountedBytes
from tests.fakes import encoded

INPUT = Preprocessing(224, 224, 0.9)
GREY = Image.linear_gradient("L").resize((640, 480))


def opened(content: bytes, max_pixels: int = 50_000_000) -> Opened:
    return open_picture(content, max_pixels, INPUT)


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has so many; each is valid."""
    content = encoded(GREY, "JPEG", progressive=True)
    last, end = content.rfind(b"\xff\xda"), content.rfind(b"\xff\xd9")
    return content[:end] + content[last:end] * (count - content.count(b"\xff\xda")) + content[end:]


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def in_chunks(count: int) -> bytes:
    """A PNG with so many empty chunks of pixels."""
    content = encoded(GREY, "PNG")
    at = content.index(b"IDAT") - 4
    return content[:at] + png_chunk(b"IDAT") * count + content[at:]


def tiff(*entries: tuple[int, int, int, bytes], big: bool = False, data: bytes = b"") -> bytes:
    """A TIFF of 8 x 8 with further tags: number, type, count, and value or offset; `data` follows the directory."""
    width, height, depth = ((tag, 3, 1, struct.pack("<H", size)) for tag, size in ((256, 8), (257, 8), (258, 8)))
    tags = sorted((width, height, depth, (262, 3, 1, b"\1"), *entries))
    if big:
        packed = b"".join(struct.pack("<HHQ8s", *tag) for tag in tags)
        return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(tags)) + packed + bytes(8) + data
    packed = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + packed + bytes(4) + data


@pytest.mark.parametrize("picture_format", ["JPEG", "MPO"])
def test_a_jpeg_may_have_64_scans(picture_format: str) -> None:
    content = with_scans(64)
    if picture_format == "MPO":
        content = encoded(GREY, "MPO", save_all=True, append_images=[GREY])
    assert opened(content).decode() == ()
    with pytest.raises(ImageTooComplex, match="65 scans; at most 64"):
        opened(with_scans(65))
    with pytest.raises(ImageTooComplex, match="1000 scans"):
        opened(with_scans(1000))


def test_scans_of_a_thumbnail_do_not_count() -> None:
    exif = Image.Exif()
    exif[0x010E] = "\xff\xda" * 500
    content = encoded(GREY, "JPEG", exif=exif.tobytes() + b"\xff\xda" * 500)
    assert content.count(b"\xff\xda") > 400
    assert opened(content).decode() == ()


@pytest.mark.parametrize(
    "content",
    [
        in_chunks(200_000),
        b"\xff\xd8" + b"\xff\xfe\0\2" * 200_000 + encoded(GREY, "JPEG")[2:],
        b"\xff\xd8\xff\xfe\0\2" + b"\1" * 200_000 + encoded(GREY, "JPEG")[2:],
        encoded(GREY, "GIF")[:-1] + (b"!\xfe" + b"\1x" * 200_000 + b"\0;"),
    ],
    ids=["PNG chunks", "JPEG segments", "JPEG junk", "GIF blocks"],
)
def test_a_file_in_far_too_many_pieces_is_refused(content: bytes) -> None:
    with pytest.raises(ImageTooComplex, match="more pieces"):
        opened(content).decode()


def test_a_file_in_many_pieces_is_read() -> None:
    assert opened(in_chunks(5_000)).decode() == ()
    noise = Image.effect_noise((1_500, 1_500), 100)
    for picture_format in ("GIF", "PNG", "TIFF", "BMP", "WEBP"):
        assert opened(encoded(noise, picture_format)).decode() == ()


def test_reading_counts_pieces_and_not_bytes() -> None:
    file = CountedBytes(bytes(64_000))
    for _ in range(51_000):
        file.read(1)
    with pytest.raises(ImageTooComplex):
        file.read(1)
    assert len(CountedBytes(bytes(64_000)).read()) == 64_000


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tag", [273, 324, 279, 258, 320])
def test_a_tiff_of_a_million_strips_is_refused_before_they_are_objects(tag: int, big: bool) -> None:
    content = tiff((tag, 4, 1_000_000, struct.pack("<I", 200)), big=big, data=bytes(4_000_000))
    with pytest.raises(ImageTooComplex, match="strips or tiles"):
        opened(content)


def test_long_text_and_profiles_in_a_tiff_are_no_strips() -> None:
    whole = encoded(GREY, "TIFF", icc_profile=bytes(500_000), tiffinfo={270: "x" * 300_000})
    assert opened(whole).decode() == ()


def test_a_tiff_with_too_many_tags_is_refused() -> None:
    with pytest.raises(ImageTooComplex, match="4096 tags"):
        opened(tiff(*((40_000 + number % 20_000, 3, 1, b"\1") for number in range(5_000))))


def test_what_is_said_to_lie_outside_a_tiff_is_for_pillow_to_refuse() -> None:
    for content in (b"II*\0", b"MM\0*\xff\xff\xff\xff", tiff((273, 4, 2**31, b"\0\0\0\1"))[:40]):
        with pytest.raises((CorruptImage, UnsupportedMedia)):
            opened(content).decode()


def rle_bmp(side: int) -> bytes:
    """A BMP with run lengths: one pixel, and the end of the line, for each row."""
    rows = b"\1\0\0\0" * side
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(rows), 0, 0, 1078) + header + bytes(1024) + rows


def test_a_bmp_with_run_lengths_is_expanded_in_python_and_must_be_small() -> None:
    assert opened(rle_bmp(900)).decode() == ()
    with pytest.raises(ImageTooComplex, match="run lengths"):
        opened(rle_bmp(7_000))


@pytest.mark.parametrize("kind", ["VP8X", "VP8L", "VP8 "])
def test_a_webp_is_measured_before_its_canvas_is_taken(kind: str) -> None:
    canvas = struct.pack("<I", 16_382)[:3]
    body = {
        "VP8X": bytes(4) + canvas * 2,
        "VP8L": b"\x2f" + struct.pack("<I", 16_382 | 16_382 << 14),
        "VP8 ": bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383),
    }[kind]
    content = (
        b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind.encode() + struct.pack("<I", len(body)) + body
    )
    with pytest.raises(ImageTooLarge, match="16383 x 16383"):
        opened(content + bytes(20))


def test_what_decoding_takes_follows_the_mode_and_the_way_it_is_stored() -> None:
    picture = Image.effect_noise((1_000, 1_000), 90).convert("RGB")
    grey = picture.convert("L")

    needed = {
        "grey": encoded(grey, "PNG"),
        "RGB": encoded(picture, "PNG"),
        "WebP": encoded(picture, "WEBP"),
        "JPEG": encoded(picture, "JPEG", subsampling=0),
        "progressive": encoded(picture, "JPEG", subsampling=0, progressive=True),
        "progressive 4:2:0": encoded(picture, "JPEG", subsampling=2, progressive=True),
        "TIFF": encoded(picture, "TIFF"),
        "turned TIFF": encoded(picture, "TIFF", tiffinfo={274: 6}),
        "one strip": encoded(picture, "TIFF", compression="tiff_adobe_deflate", strip_size=10**9),
    }
    taken = {name: opened(content).bytes - len(content) for name, content in needed.items()}
    base = taken["grey"] - 10**6
    assert {name: round((each - base) / 1e6, 1) for name, each in taken.items()} == {
        "grey": 1.0,
        "RGB": 4.0,
        "WebP": 17.0,
        "JPEG": 4.0,
        "progressive": 10.0,
        "progressive 4:2:0": 7.0,
        "TIFF": 4.0,
        "turned TIFF": 8.0,
        "one strip": 7.0,
    }
