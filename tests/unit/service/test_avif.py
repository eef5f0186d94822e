"""What an AVIF's frames have in pixels, whatever its container says."""

import struct

import pytest
from PIL import Image, features

from contract.spec import Preprocessing
from service.avif import largest_frame
from service.errors import ImageTooComplex, ImageTooLarge
from service.images import open_picture
from tests.fakes import encoded

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def stating(content: bytes, width: int, height: int) -> bytes:
    """The file with another size in its container (ISO/IEC 23008-12, 6.5.3, `ispe`)."""
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("size", [(90, 50), (1, 1), (64, 65), (300, 3)])
@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"quality": 100}, {"speed": 0}], ids=str)
def test_the_frame_has_the_size_of_the_picture(mode: str, size: tuple[int, int], options: dict[str, object]) -> None:
    content = encoded(Image.new(mode, size, 7), "AVIF", **options)
    assert largest_frame(content) == size[0] * size[1]


def test_the_first_frame_of_a_sequence_counts() -> None:
    content = encoded(Image.new("RGB", (90, 50)), "AVIF", save_all=True, append_images=[Image.new("RGB", (90, 50), 9)])
    assert content[8:12] == b"avis"
    assert largest_frame(content) == 4_500


def test_a_large_frame_in_a_small_container_is_refused_by_the_frame() -> None:
    content = stating(encoded(Image.new("RGB", (900, 500)), "AVIF"), 16, 16)
    assert largest_frame(content) == 450_000
    with pytest.raises(ImageTooLarge, match="450000"):
        open_picture(content, 400_000, Preprocessing(8, 8))
    opened = open_picture(content, 450_000, Preprocessing(8, 8))
    assert opened.picture.size == (16, 16)
    assert opened.bytes > 20 * 450_000


@pytest.mark.parametrize(
    "inside",
    [
        box(b"free", b"") * 5_000,
        box(b"meta", bytes(4) + box(b"iloc", b"\0\0\0\0\x44\0" + struct.pack(">H", 60_000) + bytes(700_000))),
        box(
            b"meta", bytes(4) + box(b"iloc", b"\0\0\0\0\x44\0" + struct.pack(">HHHH", 1, 1, 0, 60_000) + bytes(500_000))
        ),
    ],
    ids=["boxes", "items", "extents"],
)
def test_a_file_in_far_too_many_pieces_is_refused(inside: bytes) -> None:
    with pytest.raises(ImageTooComplex, match="2000 pieces"):
        largest_frame(box(b"ftyp", b"avif") + inside)


def test_containers_inside_each_other_without_end_are_not_followed() -> None:
    nested = b""
    for _ in range(3_000):
        nested = box(b"moov", nested)
    assert largest_frame(box(b"ftyp", b"avif") + nested) == 0


def test_what_is_cut_off_anywhere_is_left_to_the_decoder() -> None:
    content = encoded(Image.new("RGBA", (90, 50)), "AVIF")
    for length in range(len(content)):
        assert largest_frame(content[:length]) in (0, 4_500)
