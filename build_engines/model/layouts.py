"""The layouts in which checkpoints name their tensors, and the way from each to timm's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from build_engines.model import efficientnet_layout

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """A library's way to name and to shape the tensors of a model."""

    words: str
    knows: Callable[[Mapping[str, "Tensor"]], bool]
    to_timm: Callable[[Mapping[str, "Tensor"], "nn.Module"], dict[str, "Tensor"]]


TIMM = "timm's own names"
_LAYOUTS = (Layout("the names of efficientnet_pytorch", efficientnet_layout.knows, efficientnet_layout.to_timm),)


def to_timm(tensors: Mapping[str, "Tensor"], model: "nn.Module") -> tuple[dict[str, "Tensor"], str]:
    """The tensors by the names of `model`, as far as their layout is known, and that layout in words.

    Nothing is left out and nothing is made up, so that the caller can demand an exact fit.
    """
    for layout in _LAYOUTS:
        if layout.knows(tensors):
            return layout.to_timm(tensors, model), layout.words
    return dict(tensors), TIMM
