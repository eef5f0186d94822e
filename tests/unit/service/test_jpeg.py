"""JPEGs by libjpeg-turbo and by Pillow: the same pixels, and Pillow's answer to every file that is broken."""

import io
import random

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from contract.orientation import Upright
from contract.spec import Preprocessing
from service import images
from service.errors import CorruptImage, VitrineError
from service.images import open_picture
from service.jpeg import decoded
from tests.fakes import encoded, mutated, turned

LARGE, SMALL = Preprocessing(512, 512, crop_pct=1.0), Preprocessing(8, 8, crop_pct=1.0)
KINDS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "4:1:1": {"subsampling": "4:1:1"},
    "rough": {"quality": 5},
    "fine": {"quality": 100},
    "progressive": {"progressive": True},
    "own tables": {"optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "stored as RGB": {"keep_rgb": True},
    "with a profile": {"icc_profile": b"of colours" * 100},
}
SIZES = [(1, 1), (7, 1), (1, 9), (17, 33), (160, 120), (163, 121)]


def a_photograph(size: tuple[int, int] = (163, 121), mode: str = "RGB") -> Image.Image:
    """Noise that is smooth in places, so that every block has something of its own."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(width * height).integers(0, 60, (height, width, 3))
    levels = np.stack([rows * 3, columns * 2, rows + columns], axis=-1) % 196 + noise
    return Image.fromarray(levels.astype(np.uint8)).convert(mode)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_the_pixels_are_pillows(options: dict[str, object], size: tuple[int, int]) -> None:
    content = encoded(a_photograph(size), "JPEG", **options)
    found = decoded(opened(content), content)
    assert found is not None
    assert (found.mode, found.size) == ("RGB", size)
    assert np.array_equal(np.asarray(found), np.asarray(opened(content)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_pillows_is(orientation: int) -> None:
    content = turned(a_photograph(), orientation, "JPEG")
    found = decoded(opened(content), content)
    assert found is not None
    ours, pillows = Upright.of(found), Upright.of(opened(content))
    assert ours.size == pillows.size == (163, 121)
    for box in ((0, 0, 163, 121), (5, 7, 31, 40)):
        assert np.array_equal(np.asarray(ours.part(box)), np.asarray(pillows.part(box)))


def test_the_picture_outlives_what_it_was_made_of() -> None:
    content = encoded(a_photograph(), "JPEG")
    pictures = [decoded(opened(content), content) for _ in range(20)]
    wanted = np.asarray(opened(content))
    assert all(each is not None and np.array_equal(np.asarray(each), wanted) for each in pictures)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_are_pillows(mode: str) -> None:
    content = encoded(a_photograph(mode=mode), "JPEG")
    assert decoded(opened(content), content) is None


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_pillows(picture_format: str) -> None:
    content = encoded(a_photograph(), picture_format)
    assert decoded(opened(content), content) is None


def test_reduced_decoding_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(a_photograph((640, 480)), "JPEG")
    load, loaded = JpegImageFile.load, list[tuple[int, int]]()

    def watched(picture: JpegImageFile) -> object:
        loaded.append(picture.size)
        return load(picture)

    monkeypatch.setattr(JpegImageFile, "load", watched)
    for preprocessing in (LARGE, SMALL):
        open_picture(content, 10**6, preprocessing).decode()
    assert loaded == [(80, 60)]


def test_bytes_before_a_marker_are_taken_as_pillow_takes_them() -> None:
    """The library warns of them."""
    content = encoded(a_photograph(), "JPEG")
    odd = content[:-2] + bytes(50) + content[-2:]
    assert decoded(opened(odd), odd) is None
    opened_by_us = open_picture(odd, 10**6, LARGE)
    opened_by_us.decode()
    assert np.array_equal(np.asarray(opened_by_us.picture), np.asarray(opened(odd)))


def test_a_file_whose_size_is_read_in_two_ways_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(a_photograph(), "JPEG")
    picture = opened(content)
    picture._size = (163, 120)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)  # It is not called: that would take the memory.
    assert decoded(picture, content) is None


@pytest.mark.parametrize("length", [1500, 2000, -2])
def test_a_truncated_file_is_refused(length: int) -> None:
    content = encoded(a_photograph(), "JPEG")[:length]
    with pytest.raises(CorruptImage, match="truncated"):
        open_picture(content, 10**6, LARGE).decode()


def judged(content: bytes) -> tuple[str, bytes]:
    """What comes of a file: the code of its error, or its warnings and its pixels."""
    try:
        opened_by_us = open_picture(content, 10**6, LARGE)
        warnings = opened_by_us.decode()
    except VitrineError as error:
        return error.code, b""
    return " ".join(warnings), opened_by_us.picture.convert("RGB").tobytes()


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_a_damaged_file_is_what_it_is_to_pillow(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(str(options))  # noqa: S311 (the same files each time)
    whole = encoded(a_photograph((61, 43)), "JPEG", **options)
    files = [mutated(whole, chance) for _ in range(60)]
    ours = [judged(each) for each in files]
    monkeypatch.setattr(images, "decoded", lambda picture, content: None)
    assert ours == [judged(each) for each in files]
    assert len({code for code, _ in ours}) > 1
    assert any(pixels for _, pixels in ours)
