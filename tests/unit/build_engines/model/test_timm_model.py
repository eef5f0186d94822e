"""A name becomes a model with its pixels and labels, or one clear refusal."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from build_engines.errors import (
    BuildError,
    CheckpointMismatchError,
    ClassesMismatchError,
    LabelsMissingError,
    RegistrationError,
    UnknownModelError,
    UnsupportedModelError,
)
from build_engines.model import TimmModel, load_timm_model, timm_model_key
from build_engines.model.timm_model import weights_sha256
from build_engines.plan import Plan
from contract.spec import CropMode, Interpolation, Preprocessing
from tests.unit.build_engines.conftest import LABELS

TINY = "test_vit.r160_in1k"


def test_a_registered_architecture_comes_with_its_pixels_and_labels(source: TimmModel) -> None:
    classifier = source.classifier
    assert classifier.preprocessing == Preprocessing(32, 32, 1.0, CropMode.CENTER, Interpolation.BICUBIC)
    assert classifier.mean == (0.4914, 0.4822, 0.4465)
    assert classifier.classes == 10
    assert not classifier.model.training
    assert source.labels == LABELS
    assert source.provenance["timm_name"] == "vit_nano_convstem_patch4_32"
    assert source.provenance["weights"] == "random, seed 0"
    assert source.provenance["labels"] == "labels.txt"


def test_random_weights_repeat(plan: Plan, source: TimmModel) -> None:
    torch.manual_seed(99)
    assert load_timm_model(plan).provenance["weights_sha256"] == source.provenance["weights_sha256"]


def test_a_timm_model_comes_with_imagenets_labels(tmp_path: Path) -> None:
    source = load_timm_model(Plan(TINY, tmp_path, pretrained=False))
    assert source.labels[281].startswith("tabby")
    assert source.classifier.preprocessing.height == 160
    assert source.provenance["timm_tag"] == "r160_in1k"


def test_a_checkpoint_brings_its_weights(plan: Plan, source: TimmModel, tmp_path: Path) -> None:
    weights = {name: tensor + 0.5 for name, tensor in source.classifier.model.state_dict().items()}
    weights = {name: tensor.to(source.classifier.model.state_dict()[name].dtype) for name, tensor in weights.items()}
    save_file(weights, tmp_path / "w.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    loaded = [
        load_timm_model(dataclasses.replace(plan, checkpoint=tmp_path / name, pretrained=True))
        for name in ("w.safetensors", "w.pth")
    ]
    assert [found.provenance["weights"] for found in loaded] == ["w.safetensors", "w.pth[state_dict]"]
    assert len({found.provenance["weights_sha256"] for found in loaded}) == 1
    head = loaded[0].classifier.model.get_parameter("head.bias")
    assert torch.equal(head, weights["head.bias"])


def test_classes_follow_from_the_checkpoints_head(tmp_path: Path) -> None:
    model = timm.create_model(TINY, num_classes=7)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(LabelsMissingError, match="these 7 classes; give --labels"):
        load_timm_model(Plan(TINY, tmp_path, checkpoint=tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"model": "vit_tiny_patch16_223"}, UnknownModelError, "the closest are .*vit_tiny_patch16_224"),
        ({"model": "hf-hub:someone/model"}, UnknownModelError, "knows no model"),
        ({"model": "resnet50.nobody"}, UnknownModelError, "no tag 'nobody'.*a1_in1k"),
        ({"num_classes": 9}, ClassesMismatchError, "--num-classes says 9 classes, .*labels.txt says 10"),
        ({"model": TINY, "num_classes": 3, "labels": None}, LabelsMissingError, "3 classes; give --labels"),
        (
            {"model": TINY, "pretrained": True},
            ClassesMismatchError,
            "labels.txt says 10 classes, the pretrained .* 1000",
        ),
        (
            {"model": "vit_small_patch14_dinov2.lvd142m", "pretrained": True, "labels": None},
            UnsupportedModelError,
            "no classification head",
        ),
        ({"register": ("no.such.module",)}, RegistrationError, "--register no.such.module .*ModuleNotFoundError"),
    ],
)
def test_what_does_not_fit_is_refused(
    plan: Plan, choices: dict[str, Any], error: type[BuildError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_timm_model(dataclasses.replace(plan, **choices))


def test_another_architectures_checkpoint_is_refused(plan: Plan, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=10).state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        CheckpointMismatchError, match=r"vit_nano_convstem_patch4_32 needs .*, which the checkpoint lacks"
    ):
        load_timm_model(dataclasses.replace(plan, checkpoint=tmp_path / "w.pth", pretrained=True))


def test_a_checkpoint_of_other_classes_is_refused_with_both_numbers(plan: Plan, tmp_path: Path) -> None:
    torch.save(timm.create_model(plan.model, num_classes=9).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ClassesMismatchError, match=r"labels.txt says 10 classes, w.pth says 9"):
        load_timm_model(dataclasses.replace(plan, checkpoint=tmp_path / "w.pth", pretrained=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("linear_8_one_channel", "takes 1 channels"),
        ("linear_8_spiral", "cannot express: .*spiral"),
        ("linear_8_three_logits", r"answers one picture with \[1, 3\], not with \[1, 2\]"),
        ("linear_8_other_size", "cannot be run on a picture"),
    ],
)
def test_a_model_that_is_no_rgb_classifier_is_refused(small: Plan, name: str, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        load_timm_model(dataclasses.replace(small, model=name))


def test_a_border_has_the_mean_colour(small: Plan) -> None:
    preprocessing = load_timm_model(dataclasses.replace(small, model="linear_8_border")).classifier.preprocessing
    assert preprocessing.crop_mode is CropMode.BORDER
    assert preprocessing.fill == (128, 102, 26)


def test_a_module_of_the_current_folder_can_register(
    small: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_this_folder.py").write_text("import timm\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    assert load_timm_model(dataclasses.replace(small, register=("module_of_this_folder",))).labels == ("cat", "dog")


OF_MINE = {
    "one_of_mine": {"one_of_mine.py": "import parts_of_mine\n", "parts_of_mine.py": "A = 1\n"},
    "of_mine": {"of_mine/__init__.py": "from of_mine import parts\n", "of_mine/parts.py": "A = 1\n"},
    "mine.net": {"mine/__init__.py": "", "mine/net.py": "from mine.a import b\n", "mine/a/b.py": ""},
    "none_of_mine": {"none_of_mine.py": "def (\n"},
}
"""Modules that may be registered, the file that changes last."""


@pytest.mark.parametrize("module", OF_MINE)
def test_all_that_a_registered_module_is_made_of_is_in_the_key(
    small: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in OF_MINE[module].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    plan = dataclasses.replace(small, register=(module,))
    before = timm_model_key(plan)["register"]
    assert timm_model_key(plan)["register"] == before
    (tmp_path / name).write_text("A = 2\n")
    assert timm_model_key(plan)["register"] != before


def test_the_sum_over_weights_depends_on_values_names_and_shapes() -> None:
    def linear(value: float, shape: tuple[int, int] = (2, 3)) -> nn.Module:
        module = nn.Module()
        module.register_parameter("weight", nn.Parameter(torch.full(shape, value)))
        return module

    sums = {weights_sha256(module) for module in (linear(1.0), linear(math.pi), linear(1.0, (3, 2)))}
    assert len(sums) == 3
    assert weights_sha256(linear(1.0)) in sums
