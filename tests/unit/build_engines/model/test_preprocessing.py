"""Input sizes and preprocessing that the user names, held to what timm itself does with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from build_engines.cli import main
from build_engines.errors import PlanError, UnknownModelError, UnsupportedModelError
from build_engines.model import TimmModel, load_timm_model, timm_model_key, torch_answers
from build_engines.model.preprocessing import Given
from build_engines.model.timm_model import current_name
from build_engines.plan import Plan
from contract.pixels import to_pixels
from contract.spec import CropMode, Interpolation, Preprocessing

PHOTO = Path(__file__).parents[4] / "docs" / "images" / "cat.jpg"


def load(folder: Path, model: str, **choices: Any) -> TimmModel:
    return load_timm_model(Plan(model, folder, pretrained=False, **choices))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("test_vit.r160_in1k", 224),
        ("test_vit.r160_in1k", 96),
        ("deit_tiny_distilled_patch16_224", 160),
        ("swin_tiny_patch4_window7_224", 256),
        ("test_efficientnet.r160_in1k", 97),
        ("test_resnet.r160_in1k", 128),
    ],
)
def test_a_model_of_another_size_answers_as_timms_does(model: str, size: int, tmp_path: Path) -> None:
    found = load(tmp_path, model, image_size=size).classifier
    assert (found.preprocessing.height, found.preprocessing.width) == (size, size)
    cfg = timm.get_pretrained_cfg(model)
    sized: dict[str, Any] = {"img_size": size} if cfg and cfg.fixed_input_size else {}
    theirs = timm.create_model(model, **sized).eval()
    theirs.load_state_dict(found.model.state_dict())
    config = {**resolve_model_data_config(theirs), "input_size": (3, size, size)}
    picture = Image.open(PHOTO).convert("RGB")
    with torch.inference_mode():
        wanted = theirs(create_transform(**config, is_training=False)(picture)[None]).softmax(-1).numpy()
    answer = torch_answers(found, np.stack([to_pixels(picture, found.preprocessing)]))
    np.testing.assert_allclose(answer, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("test_vit.r160_in1k", 100, "patches of 16 x 16, and 100 is no multiple of 16; --image-size 96 and 112"),
        ("vit_tiny_patch16_224", 10, "--image-size 16 and 16 are the nearest"),
        ("nest_tiny", 230, "cannot be made for pictures of 230 x 230 .*patch_size"),
        ("maxvit_tiny_tf_224", 230, "cannot be run on a picture of 230 x 230: .*window.*another --image-size"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(model: str, size: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        load(tmp_path, model, image_size=size)


def test_what_is_given_takes_the_place_of_timms_configuration(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "test_vit.r160_in1k",
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        crop_pct=0.8,
        interpolation=Interpolation.BILINEAR,
        crop_mode=CropMode.BORDER,
    )
    assert found.classifier.mean == (0.1, 0.2, 0.3)
    assert found.classifier.std == (0.4, 0.5, 0.6)
    assert found.classifier.preprocessing == Preprocessing(
        160, 160, 0.8, CropMode.BORDER, Interpolation.BILINEAR, fill=(26, 51, 76)
    )
    assert found.provenance["pictures"] == (
        "160 x 160, border, crop_pct 0.8, bilinear, mean 0.1, 0.2, 0.3, std 0.4, 0.5, 0.6"
    )


def test_every_one_of_them_is_part_of_the_key(tmp_path: Path) -> None:
    choices: list[dict[str, Any]] = [
        {},
        {"image_size": 96},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"crop_pct": 0.8},
        {"interpolation": Interpolation.BOX},
        {"crop_mode": CropMode.SQUASH},
    ]
    keys = [repr(timm_model_key(Plan("test_vit", tmp_path, pretrained=False, **choice))) for choice in choices]
    assert len(set(keys)) == len(keys)


def test_the_first_that_says_something_is_believed() -> None:
    file = Given(image_size=384, mean=(0.5, 0.5, 0.5))
    assert Given(image_size=224).over(file) == Given(image_size=224, mean=(0.5, 0.5, 0.5))
    assert Given().over(file) == file


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"image_size": 0}, "--image-size must be at least 1"),
        ({"mean": (0.5, 0.5)}, "--mean takes three numbers.* got 2"),
        ({"mean": (123.7, 116.3, 103.5)}, "scaled to 0..1, and 123.7 is above 1; divide by 255"),
        ({"mean": (-0.1, 0.5, 0.5)}, "--mean takes numbers from 0 to 1"),
        ({"mean": (float("nan"),) * 3}, "--mean takes numbers from 0 to 1"),
        ({"std": (0.0, 0.2, 0.2)}, "--std takes numbers from 0.001 to 1"),
        ({"std": (58.4, 57.1, 57.4)}, "divide by 255"),
        ({"crop_pct": 87.5}, "90 % is 0.9"),
        ({"crop_pct": 0.0}, "--crop-pct is a share"),
    ],
)
def test_values_of_another_scale_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Plan("vit_tiny_patch16_224", **choices)


def test_a_name_that_timm_gave_up_is_followed(tmp_path: Path) -> None:
    assert current_name("vit_tiny_patch16_224_in21k") == "vit_tiny_patch16_224.augreg_in21k"
    found = load(tmp_path, "vit_tiny_patch16_224_in21k", num_classes=21843)
    assert found.provenance["timm_deprecated"] == "vit_tiny_patch16_224_in21k"
    assert (found.provenance["timm_name"], found.provenance["timm_tag"]) == ("vit_tiny_patch16_224", "augreg_in21k")


def test_a_name_that_timm_never_had_is_not_followed() -> None:
    with pytest.raises(UnknownModelError, match="the closest are"):
        current_name("vit_tiny_patch16_2224")


def test_the_command_takes_them_and_says_what_it_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--no-pretrained", "--repository", str(tmp_path / "r"), "--cache", str(tmp_path / "c")]
    arguments += ["--reports", str(tmp_path / "reports"), "--max-batch-size", "2", "--name", "small"]
    arguments += ["--image-size", "64", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--crop-pct", "1"]
    arguments += ["--interpolation", "bilinear", "--crop-mode", "squash"]
    assert main(["build", "test_vit.r160_in1k", *arguments]) == 0
    said = "64 x 64, squash, crop_pct 1, bilinear, mean 0.5, 0.5, 0.5, std 0.5, 0.5, 0.5"
    assert f"pictures   {said}" in capsys.readouterr().out
    assert f"| pictures | {said} |" in (tmp_path / "reports" / "small" / "report.md").read_text()


def test_numbers_that_are_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "test_vit", "--no-pretrained", "--mean", "0.5;0.5;0.5"]) == 2
    assert "write numbers with commas between them" in capsys.readouterr().err
