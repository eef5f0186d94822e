"""`contract.pixels` against timm's own evaluation transform, pixel by pixel, in the environment that has timm."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from contract.pixels import to_pixels
from contract.spec import CropMode, Interpolation, Preprocessing

timm = pytest.importorskip("timm", reason="timm is in the build environment only")

MODELS = (
    "resnet50.tv2_in1k",  # center, bilinear, 176, 0.875
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",  # center, bicubic, 224, 0.9
    "swin_tiny_patch4_window7_224.ms_in1k",  # center, bicubic, 224, 0.9
    "deit_tiny_distilled_patch16_224.fb_in1k",  # center, bicubic, 224, 0.9
    "tinynet_e.in1k",  # center, bicubic, 106, 0.875
    "cs3darknet_focus_l.c2ns_in1k",  # center, bicubic, 256, 0.887
    "xception41p.ra3_in1k",  # center, bicubic, 299, 0.94
    "hgnet_base.ssld_in1k",  # center, bicubic, 224, 0.965
    "volo_d4_448.sail_in1k",  # center, bicubic, 448, 1.15: smaller than the crop, framed in black
    "dm_nfnet_f0.dm_in1k",  # squash, bicubic, 192, 0.9
    "vit_base_patch16_clip_384.openai_ft_in12k_in1k",  # squash, bicubic, 384, 0.95
    "vit_base_patch16_lingbot.robbyant",  # squash, bilinear, 512, 1.0
    "vit_base_patch16_sapiens2.fb",  # squash, bilinear, 1024x768, 1.0
    "deepseek_vit_412m.deepseek_v4_flash_vision_exp",  # border, bicubic, 392, 1.0
)
SIZES = ((500, 375), (375, 500), (641, 480), (224, 224), (257, 255), (1601, 333), (31, 17), (1, 1), (40, 7), (5, 31))
"""Width and height."""


def picture(size: tuple[int, int]) -> Image.Image:
    """Noise in the left half, where a shift by a fraction of a pixel shows most; a smooth ramp in the right."""
    width, height = size
    random = np.random.default_rng(seed=width * 10_000 + height)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[:, width // 2 :, :] = np.linspace(0, 255, height, dtype=np.uint8).reshape(-1, 1, 1)
    return Image.fromarray(pixels)


def differences(size: tuple[int, int], config: dict[str, Any]) -> npt.NDArray[np.int64]:
    """How far each value of our picture is from timm's."""
    crop_mode = CropMode(config["crop_mode"])
    fill = [round(255 * level) if crop_mode is CropMode.BORDER else 0 for level in config["mean"]]
    preprocessing = Preprocessing(
        height=config["input_size"][1],
        width=config["input_size"][2],
        crop_pct=config["crop_pct"],
        crop_mode=crop_mode,
        interpolation=Interpolation(config["interpolation"]),
        fill=(fill[0], fill[1], fill[2]),
    )
    transform = timm.data.create_transform(**config, is_training=False, normalize=False)
    theirs = transform(picture(size)).permute(1, 2, 0).numpy().astype(np.int64)
    ours = to_pixels(picture(size), preprocessing).astype(np.int64)
    assert theirs.shape == ours.shape
    distance: npt.NDArray[np.int64] = np.abs(theirs - ours)
    return distance


def config_of(model: str) -> dict[str, Any]:
    cfg = timm.get_pretrained_cfg(model)
    config: dict[str, Any] = timm.data.resolve_data_config(pretrained_cfg=dataclasses.asdict(cfg))
    return config


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("model", MODELS)
def test_a_models_pixels_are_timms(model: str, size: tuple[int, int]) -> None:
    """But for a level or two in a few values, where Pillow rounds a place to 32 bits."""
    found = differences(size, config_of(model))
    assert found.max() <= 2
    assert (found > 0).mean() < 0.02


@pytest.mark.parametrize(
    "input_size", [(3, 112, 112), (3, 160, 96), (3, 97, 161)], ids=lambda size: f"{size[1]}x{size[2]}"
)
@pytest.mark.parametrize("crop_pct", [0.875, 1.0, 1.15])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_every_other_choice_is_timms_too(
    interpolation: str, crop_mode: str, crop_pct: float, input_size: tuple[int, int, int]
) -> None:
    choices = {
        "interpolation": interpolation,
        "crop_mode": crop_mode,
        "crop_pct": crop_pct,
        "input_size": input_size,
    }
    """The more so where no timm model goes: Pillow may do the other axis first, and two filters have steps."""
    apart = 0.05 if interpolation in ("nearest", "box") else 0.02
    for size in SIZES:
        assert (differences(size, {**config_of(MODELS[0]), **choices}) > 2).mean() < apart


@pytest.mark.parametrize("size", [(6000, 150), (150, 6000), (37, 1), (1, 23)])
def test_a_thin_picture_may_differ_on_sharp_edges(size: tuple[int, int]) -> None:
    """Pillow does one axis first or the other, as costs less; where nothing is cut away it is Pillow's choice, too."""
    for model in MODELS:
        found = differences(size, config_of(model))
        assert found.max() <= 32
        assert (found > 2).mean() < 0.02
