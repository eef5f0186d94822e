"""The tensors of transformers' image classifiers by timm's names, and timm's arguments from their config.json.

Each family is created from its configuration, not from a name of timm's, so that sizes, epsilons and activations are
the folder's own.
"""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from build_engines.errors import UnsupportedModelError
from build_engines.model.architecture import Architecture
from build_engines.model.torchvision_layouts import Rules, renamed

if TYPE_CHECKING:
    from torch import Tensor

Config = Mapping[str, Any]
_ACTIVATIONS = {
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "quick_gelu": "quick_gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
_UNUSED = re.compile(r"(mask_token|relative_position_index|position_ids)$|\.pooler\.dense\.")
"""What transformers makes again, or does not use to classify."""

_ENCODER: Rules = (
    (r"^\w+\.embeddings\.cls_token$", "cls_token"),
    (r"^\w+\.embeddings\.position_embeddings$", "pos_embed"),
    (r"^\w+\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^\w+\.encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"^\w+\.encoder\.layers\.(\d+)\.", r"layers.\1."),
    (r"\.attention\.(?:attention|self)\.(query|key|value)\.", r".attn.\1."),
    (
        r"\.attention\.(?:attention|self)\.(?:relative_position_bias\.)?relative_position_bias_table$",
        ".attn.relative_position_bias_table",
    ),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^\w+\.layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
_DEIT: Rules = (
    (r"^deit\.embeddings\.distillation_token$", "reg_token"),
    *_ENCODER,
)
_DEIT_WITH_TEACHER: Rules = (
    (r"^deit\.embeddings\.distillation_token$", "dist_token"),
    (r"^cls_classifier\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
    *_ENCODER,
)
_BEIT: Rules = (
    (r"\.lambda_([12])$", r".gamma_\1"),
    (r"^beit\.pooler\.layernorm\.", "fc_norm."),
    (r"^beit\.encoder\.relative_position_bias\.", "rel_pos_bias."),
    *_ENCODER,
)
_SWIN: Rules = (
    (r"^swin\.embeddings\.norm\.", "patch_embed.norm."),
    # transformers reduces at the end of a stage, timm at the start of the next.
    (r"^swin\.encoder\.layers\.(\d+)\.downsample\.", lambda found: f"layers.{int(found[1]) + 1}.downsample."),
    *_ENCODER,
    (r"^head\.", "head.fc."),
)
_DINOV2: Rules = (
    *_ENCODER,
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"^(?!head\.)", "encoder."),
)
_RESNET: Rules = (
    (r"^resnet\.embedder\.embedder\.convolution\.", "conv1."),
    (r"^resnet\.embedder\.embedder\.normalization\.", "bn1."),
    (r"^resnet\.encoder\.stages\.(\d+)\.layers\.", lambda found: f"layer{int(found[1]) + 1}."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.(\d)\.convolution\.", lambda found: f".conv{int(found[1]) + 1}."),
    (r"\.layer\.(\d)\.normalization\.", lambda found: f".bn{int(found[1]) + 1}."),
    (r"^classifier\.1\.", "fc."),
)


@dataclass(frozen=True)
class Family:
    """What transformers calls a `model_type`."""

    architecture: Callable[[Config], Architecture]
    rules: Callable[[Config], Rules]
    fixed_size: bool
    """Whether config.json names the resolution, and transformers takes no other."""
    resamples: bool = False
    """Whether transformers resamples the positions to the pictures' size, as it does for DINOv2."""


def to_timm(tensors: Mapping[str, "Tensor"], family: Family, config: Config) -> dict[str, "Tensor"]:
    """The tensors by timm's names: query, key and value as one, and nothing that does not take part."""
    import torch

    used = {name: tensor for name, tensor in tensors.items() if not _UNUSED.search(name)}
    found = renamed(used, family.rules(config))
    for name in [name for name in found if re.search(r"\.attn\.query\.weight$", name)]:
        layer = name.removesuffix("query.weight")
        if all(f"{layer}{part}.weight" in found for part in ("key", "value")):
            parts = [found.pop(f"{layer}{part}.weight") for part in ("query", "key", "value")]
            found[f"{layer}qkv.weight"] = torch.cat(parts)
            biases = [found.pop(f"{layer}{part}.bias", None) for part in ("query", "key", "value")]
            found |= _bias(layer, biases)
    return found


def _bias(layer: str, biases: "list[Tensor | None]") -> "dict[str, Tensor]":
    import torch

    query, key, value = biases
    if query is not None and key is not None and value is not None:
        return {f"{layer}qkv.bias": torch.cat([query, key, value])}
    # BEiT's keys have no bias.
    return {f"{layer}{name}": each for name, each in (("q_bias", query), ("v_bias", value)) if each is not None}


def _vit(config: Config, name: str = "vit_base_patch16_224", **more: Any) -> Architecture:
    hidden = int(config.get("hidden_size", 768))
    ratio = config.get("intermediate_size", 4 * hidden) / hidden
    return Architecture(
        name,
        {
            "img_size": side(config, "image_size", 224),
            "patch_size": side(config, "patch_size", 16),
            "embed_dim": hidden,
            "depth": int(config.get("num_hidden_layers", 12)),
            "num_heads": int(config.get("num_attention_heads", 12)),
            "mlp_ratio": ratio,
            "norm_eps": float(config.get("layer_norm_eps", 1e-12)),
            **more,
        },
    )


def _plain_vit(config: Config) -> Architecture:
    return _vit(config, qkv_bias=bool(config.get("qkv_bias", True)), act_layer=activation(config))


def _deit(config: Config) -> Architecture:
    more: dict[str, Any] = {"qkv_bias": bool(config.get("qkv_bias", True)), "act_layer": activation(config)}
    if _with_teacher(config):
        return _vit(config, "deit_base_distilled_patch16_224", **more)
    # The distillation token takes part in the attention, and its output is not used: what timm calls a register.
    return _vit(config, reg_tokens=1, **more)


def _beit(config: Config) -> Architecture:
    _only(config, "hidden_act", "gelu")
    scale = float(config.get("layer_scale_init_value", 0.1))
    return _vit(
        config,
        "beit_base_patch16_224",
        use_abs_pos_emb=bool(config.get("use_absolute_position_embeddings", False)),
        use_rel_pos_bias=bool(config.get("use_relative_position_bias", False)),
        use_shared_rel_pos_bias=bool(config.get("use_shared_relative_position_bias", False)),
        init_values=scale if scale > 0 else None,
        global_pool="avg" if config.get("use_mean_pooling", True) else "token",
    )


def _swin(config: Config) -> Architecture:
    _only(config, "hidden_act", "gelu")
    _only(config, "use_absolute_embeddings", False)
    return Architecture(
        "swin_tiny_patch4_window7_224",
        {
            "img_size": side(config, "image_size", 224),
            "patch_size": side(config, "patch_size", 4),
            "embed_dim": int(config.get("embed_dim", 96)),
            "depths": tuple(config.get("depths", (2, 2, 6, 2))),
            "num_heads": tuple(config.get("num_heads", (3, 6, 12, 24))),
            "window_size": int(config.get("window_size", 7)),
            "mlp_ratio": float(config.get("mlp_ratio", 4.0)),
            "qkv_bias": bool(config.get("qkv_bias", True)),
            "norm_eps": float(config.get("layer_norm_eps", 1e-5)),
        },
    )


def _dinov2(config: Config) -> Architecture:
    hidden, ratio = int(config.get("hidden_size", 768)), float(config.get("mlp_ratio", 4))
    more: dict[str, Any] = {"act_layer": activation(config), "qkv_bias": bool(config.get("qkv_bias", True))}
    if config.get("use_swiglu_ffn", False):
        inner = (int(int(hidden * ratio) * 2 / 3) + 7) // 8 * 8
        more, ratio = {**more, "mlp_layer": "swiglu", "act_layer": "silu"}, 2 * inner / hidden
    plain = {"patch_size": 14, "layer_norm_eps": 1e-6, **config, "intermediate_size": ratio * hidden}
    made = _vit(plain, "vit_small_patch14_dinov2", init_values=float(config.get("layerscale_value", 1.0)), **more)
    return Architecture(made.name, made.arguments, head_layers=1)


def _resnet(config: Config) -> Architecture:
    _only(config, "hidden_act", "relu")
    _only(config, "embedding_size", 64)
    _only(config, "downsample_in_first_stage", False)
    kind = config.get("layer_type", "bottleneck")
    if kind == "bottleneck":
        _only(config, "downsample_in_bottleneck", False)
    widths = config.get("hidden_sizes", (256, 512, 1024, 2048))
    if len(widths) != 4:
        raise UnsupportedModelError(f"config.json: hidden_sizes has {len(widths)} stages; timm's ResNets have 4")
    return Architecture(
        "resnet50",
        {
            "block": kind,
            "layers": tuple(config.get("depths", (3, 4, 6, 3))),
            "channels": tuple(width // (4 if kind == "bottleneck" else 1) for width in widths),
        },
    )


def _with_teacher(config: Config) -> bool:
    return "DeiTForImageClassificationWithTeacher" in (config.get("architectures") or ())


def activation(config: Config) -> str:
    """Timm's name of the activation.

    Raises:
        UnsupportedModelError: timm has none like it.
    """
    name = config.get("hidden_act", "gelu")
    if name not in _ACTIVATIONS:
        raise UnsupportedModelError(f"config.json: hidden_act {name!r} is not among {', '.join(sorted(_ACTIVATIONS))}")
    return _ACTIVATIONS[name]


def side(config: Config, key: str, default: int) -> "int | tuple[int, int]":
    """A size, which is one number, or height and width."""
    value = config.get(key, default)
    if isinstance(value, list | tuple):
        height, width = value
        return int(height) if height == width else (int(height), int(width))
    return int(value)


def _only(config: Config, key: str, value: object) -> None:
    if config.get(key, value) != value:
        raise UnsupportedModelError(f"config.json: {key} is {config[key]!r}; timm has this model with {value!r} only")


FAMILIES: Mapping[str, Family] = {
    "vit": Family(_plain_vit, lambda _: _ENCODER, fixed_size=True),
    "deit": Family(_deit, lambda config: _DEIT_WITH_TEACHER if _with_teacher(config) else _DEIT, fixed_size=True),
    "beit": Family(_beit, lambda _: _BEIT, fixed_size=True),
    "swin": Family(_swin, lambda _: _SWIN, fixed_size=True),
    "dinov2": Family(_dinov2, lambda _: _DINOV2, fixed_size=True, resamples=True),
    "resnet": Family(_resnet, lambda _: _RESNET, fixed_size=False),
}
"""By `model_type`."""
