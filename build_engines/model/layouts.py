"""The layouts in which checkpoints name their tensors, and the way from each to timm's."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from build_engines.model.architecture import Architecture
from build_engines.model.efficientnet_layout import efficientnet_to_timm, knows_efficientnet
from build_engines.model.timm_layouts import converted
from build_engines.model.torchvision_layouts import (
    convnext_to_timm,
    knows_convnext,
    knows_swin,
    knows_vit,
    swin_to_timm,
    vit_to_timm,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """A library's way to name and to shape the tensors of a model."""

    words: str
    knows: Callable[[Mapping[str, "Tensor"]], bool]
    to_timm: Callable[[Mapping[str, "Tensor"], "nn.Module"], dict[str, "Tensor"]]
    data: Mapping[str, Any] = field(default_factory=dict)
    """How its models take pictures, where that is otherwise than timm's models of the same names do."""


TIMM = "timm's own names"
_LAYOUTS = (
    Layout("the names of efficientnet_pytorch", knows_efficientnet, efficientnet_to_timm),
    # `ImageClassification` of torchvision.transforms._presets, which all of its weights are trained and judged by.
    Layout("torchvision's ViT", knows_vit, vit_to_timm, {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}),
    Layout("torchvision's Swin", knows_swin, swin_to_timm),
    Layout("torchvision's ConvNeXt", knows_convnext, convnext_to_timm),
)


def readings(
    tensors: Mapping[str, "Tensor"], model: "nn.Module", architecture: Architecture, *, resample: bool
) -> Iterator[tuple[dict[str, "Tensor"], str]]:
    """The tensors by the names of `model`, an `architecture`, in each layout that they may have, and that in words.

    Nothing is made up, and nothing is left out that would change an answer, so that the caller can demand an exact fit.

    Raises:
        CheckpointMismatchError: their layout is known, and `model` would take them and answer something else.
    """
    for layout in _LAYOUTS:
        if layout.knows(tensors):
            yield layout.to_timm(tensors, model), layout.words
            return
    if architecture.head_layers:
        yield (
            _linear_head(tensors, model.get_submodule("encoder"), architecture.name, resample),
            "DINOv2's linear classifier",
        )
        return
    yield dict(tensors), TIMM
    found = converted(tensors, model, architecture.name, resample=resample)
    if found is not None:
        yield found, f"converted by timm's {type(model).__module__.rpartition('.')[2]}"


def data_of(words: str) -> Mapping[str, Any]:
    """How models whose checkpoints are laid out so take pictures, as `timm.data` names it; empty where as timm's do."""
    return next((layout.data for layout in _LAYOUTS if layout.words == words), {})


def _linear_head(
    tensors: Mapping[str, "Tensor"], encoder: "nn.Module", name: str, resample: bool
) -> dict[str, "Tensor"]:
    """The classifiers of DINOv2's hub: a backbone, and a linear layer beside it."""
    backbone = {key.removeprefix("backbone."): each for key, each in tensors.items() if key.startswith("backbone.")}
    backbone = converted(backbone, encoder, name, resample=resample) or backbone
    rest = {re.sub(r"^linear_head\.", "head.", key): tensors[key] for key in tensors if not key.startswith("backbone.")}
    return {**{f"encoder.{key}": each for key, each in backbone.items()}, **rest}
