"""Any mode and orientation gives the pixels of its upright RGB twin, to the bit."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from contract import pixels
from contract.colours import rgb_of
from contract.pixels import to_pixels
from contract.spec import CropMode, Interpolation, Preprocessing

RANDOM = np.random.default_rng(3)
RGB = Image.fromarray(RANDOM.integers(0, 256, (610, 830, 3), dtype=np.uint8)).resize(
    (831, 611), Image.Resampling.BICUBIC
)
ALPHA = Image.fromarray(RANDOM.integers(0, 256, (611, 831), dtype=np.uint8))
SIXTEEN = Image.fromarray(RANDOM.integers(0, 65_536, (611, 831), dtype=np.uint16))


def rgba() -> Image.Image:
    picture = RGB.convert("RGBA")
    picture.putalpha(ALPHA)
    return picture


def see_through_palette() -> Image.Image:
    picture = RGB.quantize(200)
    picture.info["transparency"] = 7
    return picture


PICTURES = {
    "RGB": RGB,
    "L": RGB.convert("L"),
    "1": RGB.convert("1"),
    "P": RGB.quantize(200),
    "P with a transparent colour": see_through_palette(),
    "RGBA": rgba(),
    "LA": rgba().convert("LA"),
    "CMYK": RGB.convert("CMYK"),
    "YCbCr": RGB.convert("YCbCr"),
    "HSV": RGB.convert("HSV"),
    "LAB": Image.merge("LAB", RGB.split()),
    "I;16": SIXTEEN,
    "I": SIXTEEN.convert("I").point(lambda level: level * 7),
    "F": SIXTEEN.convert("F"),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", PICTURES)
def test_the_pixels_are_those_of_the_upright_rgb_twin(mode: str, orientation: int) -> None:
    picture = PICTURES[mode].copy()
    picture.getexif()[0x0112] = orientation
    assert picture.width * picture.height > pixels.BAND_PIXELS, "it takes several bands"
    twin = rgb_of(picture)(ImageOps.exif_transpose(picture))
    twin.getexif().clear()
    assert twin.mode == "RGB"
    for crop_mode in CropMode:
        preprocessing = Preprocessing(64, 48, 0.9, crop_mode)
        assert np.array_equal(to_pixels(picture, preprocessing), to_pixels(twin, preprocessing))


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_bands_of_rows_leave_no_seams(interpolation: Interpolation, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessing = Preprocessing(96, 96, 0.8, interpolation=interpolation)
    found = []
    for band_pixels in (1, 5_000, 10**9):
        monkeypatch.setattr(pixels, "BAND_PIXELS", band_pixels)
        found.append(to_pixels(RGB, preprocessing))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1), (3, 90_000)])
def test_a_thin_picture_is_resized_along_its_length_first(size: tuple[int, int]) -> None:
    """224 columns of 200,000 rows would be 180 MB between the axes; of 50 million rows, 45 GB."""
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
    found = to_pixels(ramp, Preprocessing(224, 224, 1.0, CropMode.SQUASH)).astype(int)
    assert np.abs(found - np.asarray(ramp.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))).max() <= 2


def test_sixteen_bits_with_a_transparent_level_are_scaled_and_that_level_is_white() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 65_535, 64).astype(np.uint16), (64, 1)))
    ramp.info["transparency"] = 0
    found = to_pixels(ramp, Preprocessing(64, 64, 1.0))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert abs(float(found.mean()) - 131) < 1
