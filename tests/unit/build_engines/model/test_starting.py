"""What a training starts from: any weights that are read, with a head for other classes."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from build_engines.errors import CheckpointMismatchError, UnsupportedModelError
from build_engines.model import starting_model
from build_engines.plan import Plan

NAME = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a head, as MAE and DINO leave it."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_file(timm.create_model(NAME, num_classes=0).state_dict(), path)
    return path


def test_an_encoder_without_a_classifier_gets_one(encoder: Path) -> None:
    start = starting_model(Plan(NAME, checkpoint=encoder), "abc", seed=0, drop_path_rate=0.2)
    torch.manual_seed(1)
    wanted = timm.create_model(NAME, num_classes=0).state_dict()
    given = start.classifier.model.state_dict()
    assert all(torch.equal(given[name], value) for name, value in wanted.items())
    assert given["head.weight"].shape == (3, 192)
    assert start.classifier.classes == 3
    assert start.origin == "encoder.safetensors"
    assert "drop_path_rate" not in start.architecture.arguments


def test_its_positions_are_resampled(encoder: Path) -> None:
    start = starting_model(Plan(NAME, checkpoint=encoder, image_size=96), "abc", seed=0)
    assert start.classifier.model.get_parameter("pos_embed").shape == (1, 37, 192)
    assert start.classifier.preprocessing.height == 96


def test_a_head_of_as_many_classes_is_kept_and_another_one_is_new_by_its_seed(tmp_path: Path) -> None:
    whole = timm.create_model(NAME, num_classes=5).state_dict()
    save_file(whole, tmp_path / "whole.safetensors")
    plan = Plan(NAME, checkpoint=tmp_path / "whole.safetensors")
    same = starting_model(plan, "abcde", seed=0).classifier.model.state_dict()
    assert torch.equal(same["head.weight"], whole["head.weight"])
    heads = [
        starting_model(plan, "abcd", seed=seed).classifier.model.get_parameter("head.bias").shape for seed in (0, 0)
    ]
    assert heads == [(4,), (4,)]
    assert torch.equal(same["blocks.3.attn.qkv.weight"], whole["blocks.3.attn.qkv.weight"])


def test_random_weights_follow_from_the_seed() -> None:
    plan = Plan(NAME, pretrained=False)
    one, again, other = (
        starting_model(plan, "abc", seed=seed).classifier.model.get_parameter("pos_embed") for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_what_fits_neither_with_nor_without_a_head_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("deit_tiny_distilled_patch16_224").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointMismatchError, match="which vit_tiny_patch16_224 does not know"):
        starting_model(Plan(NAME, checkpoint=tmp_path / "other.safetensors"), "abc", seed=0)


def test_an_argument_that_the_model_does_not_take_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="does not take nonsense"):
        starting_model(Plan(NAME, pretrained=False), "abc", seed=0, nonsense=1)
