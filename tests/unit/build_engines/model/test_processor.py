"""transformers' image processors become timm's data configuration, or are refused."""

import math
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from build_engines.errors import UnsupportedModelError
from build_engines.model.processor import data_config
from contract.pixels import to_pixels
from contract.spec import CropMode, Interpolation, Preprocessing

OLD_BEIT = {
    "do_resize": True,
    "size": 256,
    "do_center_crop": True,
    "crop_size": 224,
    "do_normalize": True,
    "resample": 3,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "feature_extractor_type": "BeitFeatureExtractor",
}
OLD_RESNET = {
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "resample": 3,
    "size": 224,
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
VIT = transformers.ViTImageProcessor().to_dict()


@pytest.mark.parametrize(
    ("settings", "size", "crop_pct", "mode", "interpolation"),
    [
        (VIT, 224, 1.0, "squash", "bilinear"),
        (transformers.DeiTImageProcessor().to_dict(), 224, 0.875, "squash", "bicubic"),
        (transformers.BeitImageProcessor().to_dict(), 224, 1.0, "squash", "bicubic"),
        (transformers.BitImageProcessor(size={"shortest_edge": 256}).to_dict(), 224, 0.875, "center", "bicubic"),
        (transformers.ConvNextImageProcessor().to_dict(), 384, 1.0, "squash", "bicubic"),
        (transformers.ConvNextImageProcessor(size={"shortest_edge": 224}).to_dict(), 224, 0.875, "center", "bicubic"),
        (OLD_RESNET, 224, 0.875, "center", "bicubic"),
        (OLD_BEIT, 224, 0.875, "squash", "bicubic"),
        ({**VIT, "size": 384}, 384, 1.0, "squash", "bilinear"),
        ({**VIT, "resample": 1}, 224, 1.0, "squash", "lanczos"),
    ],
)
def test_processors_are_expressed(
    settings: dict[str, Any], size: int, crop_pct: float, mode: str, interpolation: str
) -> None:
    data = data_config(settings)
    assert data["input_size"] == (3, size, size)
    assert data["crop_pct"] == pytest.approx(crop_pct)
    assert (data["crop_mode"], data["interpolation"]) == (mode, interpolation)
    assert data["mean"] == tuple(settings["image_mean"])
    assert data["std"] == tuple(settings["image_std"])


@pytest.mark.parametrize("resize", range(225, 300))
def test_the_share_gives_the_size_of_the_resize_again(resize: int) -> None:
    data = data_config({**VIT, "size": resize, "crop_size": 224, "do_center_crop": True})
    assert math.floor(224 / data["crop_pct"]) == resize


def test_pictures_that_are_not_normalised_have_no_mean() -> None:
    data = data_config({**VIT, "do_normalize": False})
    assert (data["mean"], data["std"]) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_flip_channel_order": True}, "do_flip_channel_order is on"),
        ({"do_pad": True}, "do_pad is on"),
        ({"do_resize": False}, "do_resize is off"),
        ({"do_rescale": False}, "not scaled to 0..1"),
        ({"rescale_factor": 1 / 127.5}, "not scaled to 0..1"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"size": {"shortest_edge": 256}}, "each has another size"),
        ({"size": {"longest_edge": 256}}, "the size is"),
        ({"size": 256, "crop_size": 224}, "do_center_crop does not say"),
        ({"size": 200, "crop_size": 224, "do_center_crop": True}, "larger than the picture"),
        ({"size": {"height": 256, "width": 300}, "crop_size": 224, "do_center_crop": True}, "no one share of both"),
        ({"resample": None}, "resample is None"),
        ({"image_mean": None}, "there is no image_mean"),
    ],
)
def test_what_entries_cannot_express_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"preprocessor_config.json: .*{message}"):
        data_config({**VIT, **change})


@pytest.mark.parametrize(
    "processor",
    [
        transformers.ViTImageProcessor(),
        transformers.DeiTImageProcessor(),
        transformers.BitImageProcessor(size={"shortest_edge": 256}),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 224}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_pixels_are_those_of_transformers(processor: Any) -> None:
    data = data_config(processor.to_dict())
    waves = np.add.outer(np.sin(np.arange(300) / 7), np.cos(np.arange(420) / 11))
    picture = Image.fromarray(np.stack([127 + 60 * waves * scale for scale in (1, 0.5, -1)], -1).astype(np.uint8))
    _, height, width = data["input_size"]
    ours = to_pixels(
        picture,
        Preprocessing(
            height, width, data["crop_pct"], CropMode(data["crop_mode"]), Interpolation(data["interpolation"])
        ),
    )
    theirs = processor(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    mean, std = np.array(data["mean"]), np.array(data["std"])
    # Its tensors are resized in floating point, and its centre may be a pixel beside ours.
    assert np.abs(ours - 255 * (theirs * std + mean)).mean() < 3
