"""The value that an explanation starts from: a model in torch that says its attention beside its answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.spec import Preprocessing

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Attentive:
    """A Vision Transformer in evaluation mode that says its attention."""

    model: "nn.Module"
    """Normalised `[batch, 3, height, width]` in; logits `[batch, classes]` and, for each layer, the attention
    `[batch, heads, tokens, tokens]` (row: who looks, column: at what; a row sums to 1) out."""
    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    layers: int
    heads: int
    rows: int
    """Of the grid of patches, whose tokens are the last ones, row by row."""
    columns: int
    readout: tuple[float, ...]
    """The share of each token in what the head reads of the last layer, summing to 1: all of the class token's, half of
    the class and half of the distillation token's, or an equal share of each that is averaged."""
    view: str = ""
    """What the served model does besides, which is not explained; empty where it does nothing besides."""
