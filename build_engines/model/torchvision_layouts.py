"""torchvision's ViT, Swin and ConvNeXt by timm's names. Its ResNets have timm's names already."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

Rules = tuple[tuple[str, "str | Callable[[re.Match[str]], str]"], ...]

_VIT: Rules = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)
_SWIN: Rules = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    # Its stages and the reductions between them are one list: 1 is the first stage, 2 the reduction after it.
    (r"^features\.(\d*[13579])\.(\d+)\.", lambda found: f"layers.{int(found[1]) // 2}.blocks.{found[2]}."),
    (
        r"^features\.(\d*[2468])\.(reduction|norm)\.",
        lambda found: f"layers.{int(found[1]) // 2}.downsample.{found[2]}.",
    ),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    (r"^head\.", "head.fc."),
)
_CONVNEXT: Rules = (
    (r"^features\.0\.([01])\.", lambda found: f"stem.{found[1]}."),
    (r"^features\.(\d*[13579])\.(\d+)\.", lambda found: f"stages.{int(found[1]) // 2}.blocks.{found[2]}."),
    (r"^features\.(\d*[2468])\.([01])\.", lambda found: f"stages.{int(found[1]) // 2}.downsample.{found[2]}."),
    (r"\.layer_scale$", ".gamma"),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"^classifier\.0\.", "head.norm."),
    (r"^classifier\.2\.", "head.fc."),
)


def renamed(tensors: Mapping[str, "Tensor"], rules: Rules) -> dict[str, "Tensor"]:
    """The tensors by the names that `rules`, each after the other, make of theirs."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)  # noqa: PLW2901 (each rule starts from the last one's name)
        found[name] = tensor
    return found


def knows_vit(names: Mapping[str, object]) -> bool:
    """Whether these are the names of torchvision's ViT."""
    return "conv_proj.weight" in names and "encoder.pos_embedding" in names


def knows_swin(names: Mapping[str, object]) -> bool:
    """Whether these are the names of torchvision's Swin, of the first version."""
    return "features.1.0.attn.relative_position_bias_table" in names


def knows_convnext(names: Mapping[str, object]) -> bool:
    """Whether these are the names of torchvision's ConvNeXt."""
    return "features.1.0.layer_scale" in names and "features.1.0.block.0.weight" in names


def vit_to_timm(tensors: Mapping[str, "Tensor"], _: "nn.Module") -> dict[str, "Tensor"]:
    """Torchvision's ViT by timm's names."""
    return renamed(tensors, _VIT)


def swin_to_timm(tensors: Mapping[str, "Tensor"], _: "nn.Module") -> dict[str, "Tensor"]:
    """Torchvision's Swin by timm's names, without the indices that follow from the window."""
    return renamed(
        {name: each for name, each in tensors.items() if not name.endswith("relative_position_index")}, _SWIN
    )


def convnext_to_timm(tensors: Mapping[str, "Tensor"], _: "nn.Module") -> dict[str, "Tensor"]:
    """Torchvision's ConvNeXt by timm's names; its layer scales have two dimensions more."""
    found = renamed(tensors, _CONVNEXT)
    return {name: each.flatten() if name.endswith(".gamma") else each for name, each in found.items()}
