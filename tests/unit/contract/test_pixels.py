"""What can be said about the pixels without timm; `test_pixels_timm.py` compares with timm itself."""

import numpy as np
import pytest
from cykooz_resizer import CpuExtensions, CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from contract.pixels import resized, seen_box, to_pixels
from contract.spec import CropMode, Interpolation, Preprocessing


def test_a_picture_of_the_inputs_size_is_not_touched() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(to_pixels(Image.fromarray(noise), Preprocessing(32, 32, crop_pct=1.0)), noise)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(CropMode.CENTER, (330, 248)), (CropMode.SQUASH, (248, 248)), (CropMode.BORDER, (248, 186))],
)
def test_the_size_before_the_crop(mode: CropMode, expected: tuple[int, int]) -> None:
    assert resized((640, 480), Preprocessing(224, 224, 0.9, mode)) == expected


def test_the_centre_is_kept() -> None:
    picture = Image.new("RGB", (300, 100))
    picture.paste((255, 255, 255), (100, 0, 200, 100))
    assert to_pixels(picture, Preprocessing(50, 50, crop_pct=1.0))[:, 1:-1].min() > 200


def test_border_fills_with_its_colour_and_center_with_black() -> None:
    picture = Image.new("RGB", (100, 50), "white")
    border = to_pixels(picture, Preprocessing(40, 40, 1.0, CropMode.BORDER, fill=(9, 8, 7)))
    assert border[0, 0].tolist() == [9, 8, 7]
    assert border[20, 20].tolist() == [255, 255, 255]
    assert to_pixels(picture, Preprocessing(40, 40, 1.25))[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", [(300, 200), (1500, 1100), (90, 2000)], ids=["a band", "many", "turned"])
def test_a_picture_that_is_rgb_already_has_the_pixels_of_one_that_becomes_so(
    size: tuple[int, int], interpolation: Interpolation
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    plain = Image.fromarray(noise)
    preprocessing = Preprocessing(96, 80, 0.9, interpolation=interpolation)
    assert np.array_equal(to_pixels(plain, preprocessing), to_pixels(plain.convert("RGBA"), preprocessing))


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1), (7, 3)])
@pytest.mark.parametrize("mode", list(CropMode))
def test_any_shape_of_picture_fits(size: tuple[int, int], mode: CropMode) -> None:
    pixels = to_pixels(Image.new("RGB", size, (10, 20, 30)), Preprocessing(224, 160, 0.9, mode))
    assert (pixels.shape, pixels.dtype.name) == ((224, 160, 3), "uint8")


@pytest.mark.parametrize("kernel", list(FilterType))
def test_every_cpu_computes_the_same_pixels(kernel: FilterType) -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (77, 131, 3), dtype=np.uint8))
    options = ResizeOptions(resize_alg=ResizeAlg.convolution(kernel), crop_box=CropBox(3.3, 0, 120.2, 77))
    found = []
    for extensions in (CpuExtensions.none, CpuExtensions.sse4_1, Resizer().cpu_extensions):
        resizer, result = Resizer(), Image.new("RGB", (50, 77))
        resizer.cpu_extensions = extensions
        resizer.resize_pil(noise, result, options)
        found.append(np.asarray(result))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    ("preprocessing", "box"),
    [
        (Preprocessing(224, 224, 1.0), (80, 0, 560, 480)),
        (Preprocessing(224, 224, 0.5), (200, 120, 440, 360)),
        (Preprocessing(224, 224, 1.0, CropMode.SQUASH), (0, 0, 640, 480)),
        (Preprocessing(224, 224, 1.0, CropMode.BORDER), (0, -80, 640, 560)),
        (Preprocessing(200, 200, 2.0), (-160, -240, 800, 720)),
        (Preprocessing(100, 200, 1.0), (0, 80, 640, 400)),
    ],
    ids=["centre", "less of it", "squash", "border", "frame", "wide input"],
)
def test_the_input_lies_there_on_the_picture(preprocessing: Preprocessing, box: tuple[float, ...]) -> None:
    assert seen_box((640, 480), preprocessing) == pytest.approx(box, abs=4)


@pytest.mark.parametrize("mode", list(CropMode))
def test_what_lies_there_is_what_the_model_sees(mode: CropMode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    preprocessing = Preprocessing(112, 112, 0.8, mode)
    left, top, right, bottom = seen_box(picture.size, preprocessing)
    cut = picture.crop((round(left), round(top), round(right), round(bottom))).resize((112, 112))
    inside = to_pixels(picture, preprocessing)[20:-20, 5:-5].astype(int)
    assert np.abs(inside - np.asarray(cut)[20:-20, 5:-5]).mean() < 2
