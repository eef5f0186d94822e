"""EfficientNets by the names of lukemelas' efficientnet_pytorch, and of the packages that took them over."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from build_engines.errors import CheckpointMismatchError

if TYPE_CHECKING:
    from torch import Tensor, nn

_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
}
_SEPARABLE = {**_EXPANDED, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""A block whose expansion is 1 has no first convolution, and timm then counts its layers from the second."""


def knows_efficientnet(names: Mapping[str, object]) -> bool:
    """Whether these are the names of efficientnet_pytorch."""
    return "_conv_stem.weight" in names and any(map(_BLOCK.fullmatch, names))


def efficientnet_to_timm(tensors: Mapping[str, "Tensor"], model: "nn.Module") -> dict[str, "Tensor"]:
    """The tensors by timm's names; those of blocks that `model` lacks keep theirs.

    The blocks of efficientnet_pytorch are one list, timm's are a list for each stage.

    Raises:
        CheckpointMismatchError: `model` is an EfficientNet that pads or normalises otherwise than TensorFlow does,
            so that it would take these weights and answer something else.
    """
    _check_padding(model)
    stages = [list(stage.children()) for stage in getattr(model, "blocks", ())]
    places = [f"{stage}.{block}" for stage, blocks in enumerate(stages) for block in range(len(blocks))]
    mapped = {}
    for name, tensor in tensors.items():
        layer, _, rest = name.partition(".")
        new = f"{_OUTSIDE[layer]}.{rest}" if layer in _OUTSIDE else name
        if match := _BLOCK.fullmatch(name):
            number, layer, rest = int(match[1]), match[2], match[3]
            layers = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in tensors else _SEPARABLE
            if number < len(places) and layer in layers:
                new = f"blocks.{places[number]}.{layers[layer]}.{rest}"
        mapped[new] = tensor
    return mapped


def _check_padding(model: "nn.Module") -> None:
    from timm.layers import Conv2dSame

    stem, norm = getattr(model, "conv_stem", None), getattr(model, "bn1", None)
    if stem is not None and norm is not None and not (isinstance(stem, Conv2dSame) and norm.eps == 1e-3):
        raise CheckpointMismatchError(
            "these are weights of efficientnet_pytorch, which pads and normalises as TensorFlow does; timm's models "
            "that do so are named tf_efficientnet_..., for example tf_efficientnet_lite0: name that one"
        )
