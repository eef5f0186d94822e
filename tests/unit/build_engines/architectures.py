"""Architectures for tests, registered with timm: one linear layer, ones that are refused, and a ViT of two views."""

import dataclasses
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from training.architecture import CONFIG, NANO

SMALL = {"num_classes": 2, "input_size": (3, 8, 8), "classifier": "head"}

default_cfgs = generate_default_cfgs(
    {
        "linear_8.x": SMALL,
        "linear_8_one_channel.x": {**SMALL, "input_size": (1, 8, 8), "mean": (0.5,), "std": (0.5,)},
        "linear_8_spiral.x": {**SMALL, "crop_mode": "spiral"},
        "linear_8_border.x": {**SMALL, "crop_mode": "border", "mean": (0.5, 0.4, 0.1)},
        "linear_8_three_logits.x": SMALL,
        "linear_8_other_size.x": SMALL,
        "vit_nano_convstem_mirror_patch4_32.x": CONFIG,
    }
)


class Linear(nn.Module):
    """Logits of the flattened picture."""

    def __init__(self, name: str, num_classes: int = 2, pixels: int = 64) -> None:
        super().__init__()
        cfg = timm.get_pretrained_cfg(name)
        self.pretrained_cfg = dataclasses.asdict(cfg) if cfg else {}
        self.head = nn.Linear(3 * pixels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, 3, 8, 8]` to `[N, classes]`."""
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits


@register_model
def linear_8(num_classes: int = 2, **_: Any) -> Linear:
    """A classifier like any other."""
    return Linear("linear_8", num_classes)


@register_model
def linear_8_one_channel(**_: Any) -> Linear:
    """Of grey pictures."""
    return Linear("linear_8_one_channel")


@register_model
def linear_8_spiral(**_: Any) -> Linear:
    """Of pictures cropped as nobody crops them."""
    return Linear("linear_8_spiral")


@register_model
def linear_8_border(**_: Any) -> Linear:
    """Of pictures with a border."""
    return Linear("linear_8_border")


@register_model
def linear_8_three_logits(**_: Any) -> Linear:
    """With a logit more than it says."""
    return Linear("linear_8_three_logits", num_classes=3)


@register_model
def linear_8_other_size(**_: Any) -> Linear:
    """Of another size than it says."""
    return Linear("linear_8_other_size", pixels=99)


class MirrorAveraged(VisionTransformer):
    """Answers the mean of the logits for a picture and for its mirror image, in one batch of twice the size.

    The weights and their names are those of `VisionTransformer`: train without, serve with. Both views are equally
    likely in the training data, so the mean errs less than either, for twice the compute.
    """

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
        """`[N, 3, H, W]` to logits `[N, classes]`."""
        logits: torch.Tensor = super().forward(torch.cat([x, x.flip(3)]), attn_mask, is_causal)
        return logits.reshape(2, x.shape[0], -1).mean(0)


@register_model
def vit_nano_convstem_mirror_patch4_32(**given: Any) -> nn.Module:
    """The weights of `vit_nano_convstem_patch4_32`, averaged over a picture and its mirror image."""
    model: nn.Module = build_model_with_cfg(
        MirrorAveraged, "vit_nano_convstem_mirror_patch4_32", given.pop("pretrained", False), **{**NANO, **given}
    )
    return model
