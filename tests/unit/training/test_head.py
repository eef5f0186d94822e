"""A linear head: the minimum of a convex loss, features from the cache, and the model that answers by it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.training.conftest import MakeSetup
from training.answering import Normalise, accuracy, answers
from training.errors import RecipeError
from training.head import fit_head, solve

WEIGHTS = Path(__file__).parents[2] / "data" / "vit_nano" / "weights.safetensors"
HEAD: dict[str, Any] = {"head_only": True, "checkpoint": str(WEIGHTS), "hold_out": 0.25}


def test_the_solution_is_the_minimum_and_does_not_depend_on_scale() -> None:
    random = torch.Generator().manual_seed(0)
    targets = torch.arange(90) % 3
    features = torch.randn(90, 5, generator=random) + 2 * torch.nn.functional.one_hot(targets, 5)
    head = solve(features, targets, 3, 0.1)
    scaled = solve(features * torch.tensor([1.0, 100.0, 0.01, 1.0, 1.0]) + 7, targets, 3, 0.1)
    given = head.logits(features.numpy())
    again = scaled.logits((features * torch.tensor([1.0, 100.0, 0.01, 1.0, 1.0]) + 7).numpy())
    assert np.allclose(given, again, atol=1e-3)

    def loss(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        standard = weight * features.std(0, unbiased=False)
        fit = torch.nn.functional.cross_entropy(features @ weight.T + bias, targets)
        return fit + 0.05 * standard.square().sum()

    least = loss(head.weight, head.bias)
    for _ in range(20):
        step = 0.01 * torch.randn(head.weight.shape, generator=random)
        assert loss(head.weight + step, head.bias) > least


def test_a_feature_that_never_changes_does_no_harm() -> None:
    features = torch.cat([torch.randn(40, 3), torch.full((40, 1), 5.0)], 1)
    head = solve(features, torch.arange(40) % 2, 2, 0.01)
    assert bool(head.weight.isfinite().all())
    assert head.weight[:, 3].abs().max() == 0


def test_the_model_answers_by_the_head_and_features_are_computed_once(setup: MakeSetup, tmp_path: Path) -> None:
    lines: list[str] = []
    made = setup(**HEAD)
    before = {name: value.clone() for name, value in made.start.classifier.model.state_dict().items()}
    fit_head(made, tmp_path, lines.append)
    model, (_, test) = made.start.classifier.model, made.data.reported or ("", made.data.train)
    normalise = Normalise(made.start.classifier.mean, made.start.classifier.std)
    assert accuracy(answers(model, test.images, normalise, torch.device("cpu")), test.targets) == 100.0
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("head."), name
    assert len(os.listdir(tmp_path / "features")) == 2
    lines.clear()
    again = setup(**HEAD, seed=0)
    fit_head(again, tmp_path, lines.append)
    assert sum("features as before" in line for line in lines) == 2
    for name, value in again.start.classifier.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_other_weights_have_other_features(setup: MakeSetup, tmp_path: Path) -> None:
    fit_head(setup(**HEAD), tmp_path, lambda _: None)
    other = setup(**HEAD)
    with torch.no_grad():
        other.start.classifier.model.get_parameter("cls_token").add_(1.0)
    fit_head(other, tmp_path, lambda _: None)
    assert len(os.listdir(tmp_path / "features")) == 4


def test_both_heads_of_a_distilled_deit_get_it(setup: MakeSetup, tmp_path: Path) -> None:
    made = setup(model="deit_tiny_distilled_patch16_224", image_size=32, pretrained=False, hold_out=0.25)
    fit_head(made, tmp_path, lambda _: None)
    model = made.start.classifier.model
    assert torch.equal(model.get_parameter("head.weight"), model.get_parameter("head_dist.weight"))


def test_a_head_of_more_than_one_layer_is_refused(setup: MakeSetup, tmp_path: Path) -> None:
    made = setup(model="resnet9_32", hold_out=0.25)
    made.start.classifier.model.fc = torch.nn.Sequential(torch.nn.Linear(160, 2))
    with pytest.raises(RecipeError, match="leave --head-only out"):
        fit_head(made, tmp_path, lambda _: None)
