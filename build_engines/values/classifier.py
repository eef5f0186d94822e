"""The value that the steps hand on: a model in torch, and how it wants its pictures."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.spec import Preprocessing

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Classifier:
    """A model in evaluation mode: normalised `[batch, 3, height, width]` in, logits `[batch, classes]` out."""

    model: "nn.Module"
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    """For each channel, of pictures scaled to 0..1, as timm gives it."""
    std: tuple[float, ...]
    classes: int
