"""Architectures for tests, registered with timm: one linear layer, exported in a moment, and ones that are refused."""

import dataclasses
from typing import Any

import timm
import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

SMALL = {"num_classes": 2, "input_size": (3, 8, 8), "classifier": "head"}

default_cfgs = generate_default_cfgs(
    {
        "linear_8.x": SMALL,
        "linear_8_one_channel.x": {**SMALL, "input_size": (1, 8, 8), "mean": (0.5,), "std": (0.5,)},
        "linear_8_spiral.x": {**SMALL, "crop_mode": "spiral"},
        "linear_8_border.x": {**SMALL, "crop_mode": "border", "mean": (0.5, 0.4, 0.1)},
        "linear_8_three_logits.x": SMALL,
        "linear_8_other_size.x": SMALL,
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
