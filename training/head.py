"""A linear head on the features of a model that stays as it is: a convex problem, solved by L-BFGS in seconds.

Features are computed once and kept on disk by what they are made of. The head is multinomial logistic regression with
an L2 penalty on standardised features, whose strength is the one that answers most of the held-out pictures.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import timm
import torch
from torch import nn

from training.answering import Normalise, answers
from training.dataset import Split
from training.errors import RecipeError
from training.setup import Setup

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_STEPS = 200


@dataclass(frozen=True)
class Head:
    """A linear layer over features."""

    weight: torch.Tensor
    """float32 `[classes, features]`."""
    bias: torch.Tensor
    """float32 `[classes]`."""
    penalty: float
    """What the sum of squared weights was multiplied with, over twice the number of pictures."""

    def logits(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 `[N, features]` to `[N, classes]`."""
        found: npt.NDArray[np.float32] = (torch.from_numpy(features) @ self.weight.T + self.bias).numpy()
        return found


class _Features(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the head sees, `[N, features]`."""
        encoded = self.model.forward_features(x)  # type: ignore[operator]
        features: torch.Tensor = self.model.forward_head(encoded, pre_logits=True)  # type: ignore[operator]
        return features


def fit_head(setup: Setup, cache: Path, say: Callable[[str], None]) -> Head:
    """The best head for `setup`; its model gets it.

    Raises:
        RecipeError: the model's head is not one linear layer over its features.
    """
    model, data = setup.start.classifier.model, setup.data
    model.to(setup.device).to(memory_format=torch.channels_last)
    features = _features(setup, data.train, cache, say)
    targets = torch.from_numpy(data.train.targets)
    if data.judging is None:
        head = solve(torch.from_numpy(features), targets, len(data.classes), 1e-2)
    else:
        judging = _features(setup, data.judging, cache, say)
        rights: list[tuple[float, Head]] = []
        for penalty in PENALTIES:
            made = solve(torch.from_numpy(features), targets, len(data.classes), penalty)
            right = float((made.logits(judging).argmax(axis=1) == data.judging.targets).mean())
            say(f"head with penalty {penalty:g}: val {100 * right:.2f} %")
            rights.append((right, made))
        # The strongest of the best: it moves least.
        head = max(reversed(rights), key=lambda each: each[0])[1]
    _install(setup, model, head, features[:8], data.train)
    return head


def solve(features: torch.Tensor, targets: torch.Tensor, classes: int, penalty: float) -> Head:
    """Multinomial logistic regression: features float32 `[N, features]`, targets int64 `[N]`, to the minimum.

    In float64 and by full batches, so that the same features give the same head.
    """
    x = features.double()
    mean, spread = x.mean(0), x.std(0, unbiased=False)
    spread = torch.where(spread > 1e-6 * spread.max().clamp(min=1e-12), spread, torch.full_like(spread, torch.inf))
    x = (x - mean) / spread
    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(x @ weight.T + bias, targets) + penalty / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        scaled = weight / spread
        return Head(scaled.float(), (bias - scaled @ mean).float(), penalty)


def _features(setup: Setup, split: Split, cache: Path, say: Callable[[str], None]) -> npt.NDArray[np.float32]:
    """The features of a split, from the cache where it has them."""
    classifier = setup.start.classifier
    key = hashlib.sha256(f"{_encoder_sha256(setup)} {classifier.mean} {classifier.std} {timm.__version__}".encode())
    key.update(f"{split.images.shape}".encode())
    key.update(split.images.tobytes())
    path = cache / "features" / f"{key.hexdigest()}.npy"
    if path.exists():
        say(f"{len(split)} pictures: features as before")
        kept: npt.NDArray[np.float32] = np.load(path)
        return kept
    normalise = Normalise(classifier.mean, classifier.std).to(setup.device)
    found = answers(_Features(classifier.model), split.images, normalise, setup.device, batch=64)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp.npy")
    np.save(beside, found)
    os.replace(beside, path)
    say(f"{len(split)} pictures: {found.shape[1]} features of each")
    return found


def _encoder_sha256(setup: Setup) -> str:
    """Of the weights without the head, so that another seed or number of classes has the same features."""
    digest = hashlib.sha256(repr(setup.start.architecture).encode())
    for name, tensor in sorted(setup.start.classifier.model.state_dict().items()):
        if not any(name.startswith(f"{layer}.") for layer in _layers(setup)):
            digest.update(f"{name} {list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _layers(setup: Setup) -> tuple[str, ...]:
    return tuple(setup.start.architecture.classifier)


def _install(setup: Setup, model: nn.Module, head: Head, features: npt.NDArray[np.float32], split: Split) -> None:
    """Put the head in the place of the model's own; of both, where a DeiT has two and answers their mean."""
    for name in _layers(setup):
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Linear) or layer.weight.shape != head.weight.shape or layer.bias is None:
            raise RecipeError(
                f"{setup.start.architecture.name}: {name} is not one linear layer over its features; leave --head-only "
                "out"
            )
        with torch.no_grad():
            layer.weight.copy_(head.weight)
            layer.bias.copy_(head.bias)
    normalise = Normalise(setup.start.classifier.mean, setup.start.classifier.std).to(setup.device)
    given = answers(model, split.images[: len(features)], normalise, setup.device)
    if not np.allclose(given, head.logits(features), rtol=1e-2, atol=1e-2):
        raise RecipeError(
            f"{setup.start.architecture.name} does more to its features than a linear layer; leave --head-only out"
        )
