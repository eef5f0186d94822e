"""Small members of the families whose checkpoints people have, registered with timm: a build of one takes seconds."""

import dataclasses
from functools import partial
from typing import Any

import timm
import torch
from timm.models import (
    beit,
    convnext,
    deit,
    efficientnet,
    generate_default_cfgs,
    register_model,
    resnet,
    swin_transformer,
)
from timm.models import vision_transformer as vit
from torch import nn

CLASSES = 3
SIDE = 32
VIT: dict[str, Any] = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
SWIN: dict[str, Any] = {
    "img_size": SIDE,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_size": 4,
}


def _cfg(classifier: str | tuple[str, ...], side: int = SIDE) -> dict[str, Any]:
    return {
        "num_classes": CLASSES,
        "input_size": (3, side, side),
        "classifier": classifier,
        "crop_pct": 1.0,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.25, 0.3),
    }


default_cfgs = generate_default_cfgs(
    {
        "tiny_vit.x": _cfg("head"),
        "tiny_vit_64.x": _cfg("head", 64),
        "tiny_deit_distilled.x": _cfg(("head", "head_dist")),
        "tiny_dinov2.x": {**_cfg("head"), "num_classes": 0},
        "tiny_beit.x": _cfg("head"),
        "tiny_swin.x": _cfg("head.fc"),
        "tiny_convnext.x": _cfg("head.fc"),
        "tiny_resnet.x": _cfg("fc"),
        "tf_tiny_efficientnet.x": _cfg("classifier"),
        "tiny_lite.x": _cfg("classifier"),
    }
)


def _made(name: str, kind: type[nn.Module], arguments: dict[str, Any], given: dict[str, Any]) -> nn.Module:
    ignored = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    model = kind(**{**arguments, **{key: value for key, value in given.items() if key not in ignored}})
    cfg = timm.get_pretrained_cfg(name)
    assert cfg is not None
    vars(model)["pretrained_cfg"] = dataclasses.asdict(cfg)
    return model


@register_model
def tiny_vit(**given: Any) -> nn.Module:
    """As the ViT of its paper."""
    return _made("tiny_vit", vit.VisionTransformer, VIT, given)


@register_model
def tiny_vit_64(**given: Any) -> nn.Module:
    """At twice the resolution."""
    return _made("tiny_vit_64", vit.VisionTransformer, {**VIT, "img_size": 64}, given)


@register_model
def tiny_deit_distilled(**given: Any) -> nn.Module:
    """With a teacher's token."""
    return _made("tiny_deit_distilled", deit.VisionTransformerDistilled, VIT, given)


@register_model
def tiny_dinov2(**given: Any) -> nn.Module:
    """With layer scales and without a head."""
    return _made("tiny_dinov2", vit.VisionTransformer, {**VIT, "init_values": 1.0, "mlp_ratio": 4.0}, given)


@register_model
def tiny_beit(**given: Any) -> nn.Module:
    """With relative positions and the mean of the patches."""
    # The published models have this epsilon (timm.models.beit passes it).
    norm = partial(nn.LayerNorm, eps=1e-6)
    arguments = {**VIT, "use_abs_pos_emb": False, "use_rel_pos_bias": True, "init_values": 0.1, "norm_layer": norm}
    return _made("tiny_beit", beit.Beit, arguments, given)


@register_model
def tiny_swin(**given: Any) -> nn.Module:
    """Of two stages."""
    return _made("tiny_swin", swin_transformer.SwinTransformer, SWIN, given)


@register_model
def tiny_convnext(**given: Any) -> nn.Module:
    """Of four short stages."""
    return _made("tiny_convnext", convnext.ConvNeXt, {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, given)


@register_model
def tiny_resnet(**given: Any) -> nn.Module:
    """Of four short stages."""
    return _made("tiny_resnet", resnet.ResNet, {"block": resnet.BasicBlock, "layers": (1, 1, 1, 1)}, given)


@register_model
def tf_tiny_efficientnet(**given: Any) -> nn.Module:
    """Of three stages, padded as TensorFlow does."""
    stages = [["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k3_s2_e6_c16_se0.25"], ["ir_r1_k5_s2_e6_c24_se0.25"]]
    arguments = {
        "block_args": efficientnet.decode_arch_def(stages),
        "stem_size": 8,
        "num_features": 32,
        "pad_type": "same",
        "norm_layer": partial(nn.BatchNorm2d, eps=1e-3),
        "act_layer": nn.SiLU,
    }
    return _made("tf_tiny_efficientnet", efficientnet.EfficientNet, arguments, given)


@register_model
def tiny_lite(**given: Any) -> nn.Module:
    """An EfficientNet whose activations end at six, without squeezes."""
    arguments = {
        "block_args": efficientnet.decode_arch_def([["ds_r1_k3_s1_e1_c8"], ["ir_r2_k3_s2_e6_c16"]]),
        "stem_size": 8,
        "num_features": 32,
        "act_layer": nn.ReLU6,
    }
    return _made("tiny_lite", efficientnet.EfficientNet, arguments, given)


def scrambled(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with weights of which no two are alike, and with answers that differ between pictures."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(noise + 0.5)
            elif tensor.ndim < 2 and name.endswith("weight"):
                tensor.copy_(noise * 0.4 + 0.8)
            else:
                width = tensor[0].numel() if tensor.ndim > 1 else 16
                tensor.copy_((noise - 0.5) * 3.0 / width**0.5)
    return model.eval()
