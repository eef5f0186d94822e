"""The eight orientations of EXIF, against Pillow's own turning of the whole picture."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from contract.orientation import Upright

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))


def tagged(orientation: int) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    NOISE.save(stream, "PNG", exif=exif)
    return Image.open(stream)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_are_those_of_the_whole_picture_turned(orientation: int) -> None:
    whole = ImageOps.exif_transpose(tagged(orientation))
    upright = Upright.of(tagged(orientation))
    assert upright.size == whole.size
    width, height = whole.size
    for box in [(0, 0, width, height), (1, 0, 4, 2), (2, 1, width, height), (0, 3, 1, 4)]:
        assert np.array_equal(np.asarray(upright.part(box)), np.asarray(whole.crop(box)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_transposed_exchanges_rows_and_columns(orientation: int) -> None:
    upright = Upright.of(tagged(orientation))
    width, height = upright.size
    there = np.asarray(upright.part((0, 0, width, height)))
    here = np.asarray(upright.transposed().part((0, 0, height, width)))
    assert np.array_equal(here, there.swapaxes(0, 1))
    assert upright.transposed().transposed() == upright


@pytest.mark.parametrize("orientation", [0, 9, 274])
def test_a_tag_out_of_range_is_none(orientation: int) -> None:
    assert Upright.of(tagged(orientation)).orientation == 1
