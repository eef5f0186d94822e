"""Vision Transformers small enough to train on a CPU, registered with timm under their own names.

Importing this module is what registers them; `timm.create_model("vit_micro_convstem_patch4_32")` then works, and so
does `build-engines build vit_micro_convstem_patch4_32 --register training.architecture`.
"""

from typing import Any

import torch
from timm.layers import DropPath
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

__all__ = ["ConvStem"]


def conv_norm_act(channels_in: int, channels_out: int) -> nn.Sequential:
    """A 3x3 convolution that keeps the grid, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions with an identity path around them."""

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.body = nn.Sequential(conv_norm_act(channels, channels), conv_norm_act(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, C, H, W]` in, the same out."""
        out: torch.Tensor = x + self.drop_path(self.body(x))
        return out


class ConvStem(nn.Module):
    """Patch embedding by convolutions instead of one strided one, with timm's `PatchEmbed` interface.

    A transformer has no notion that neighbouring pixels belong together and needs far more data than CIFAR-10 to learn
    it; a few convolutions give it that from the first step (Xiao et al., "Early Convolutions Help Transformers See
    Better", 2021). Each of the two pools halves the grid, so a patch is 4x4 pixels.
    """

    patch = 4

    def __init__(
        self, img_size: int = 32, patch_size: int = 4, in_chans: int = 3, embed_dim: int = 128, **_: Any
    ) -> None:
        super().__init__()
        if patch_size != self.patch or img_size % self.patch:
            raise ValueError(f"ConvStem makes 4x4 patches; got patch_size={patch_size}, img_size={img_size}")
        self.patch_size = (self.patch, self.patch)
        self.set_input_size((img_size, img_size))
        self.body = self.layers(in_chans, embed_dim)

    @staticmethod
    def layers(in_chans: int, embed_dim: int) -> nn.Sequential:
        """From `[N, in_chans, H, W]` to `[N, embed_dim, H/4, W/4]`."""
        widths = (embed_dim * 3 // 16, embed_dim * 3 // 8, embed_dim * 3 // 4)
        return nn.Sequential(
            conv_norm_act(in_chans, widths[0]),
            conv_norm_act(widths[0], widths[1]),
            nn.MaxPool2d(2),
            conv_norm_act(widths[1], widths[2]),
            nn.MaxPool2d(2),
            Residual(widths[2]),
            nn.Conv2d(widths[2], embed_dim, kernel_size=1),
        )

    def set_input_size(self, img_size: tuple[int, int], patch_size: object = None) -> None:  # noqa: ARG002 (timm's)
        """Height and width of the pictures from now on; timm's `VisionTransformer` resamples the positions.

        Raises:
            ValueError: they are no multiples of 4.
        """
        if img_size[0] % self.patch or img_size[1] % self.patch:
            raise ValueError(f"ConvStem makes 4x4 patches; pictures of {img_size} are no multiple of them")
        self.img_size = (img_size[0], img_size[1])
        self.grid_size = (img_size[0] // self.patch, img_size[1] // self.patch)
        self.num_patches = self.grid_size[0] * self.grid_size[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, 3, H, W]` to `[N, H/4 * W/4, embed_dim]`."""
        grid: torch.Tensor = self.body(x)
        return grid.flatten(2).transpose(1, 2)


class DeepConvStem(ConvStem):
    """A residual pair on each of the two pooled grids: more of what a CNN does before the first token is made."""

    @staticmethod
    def layers(in_chans: int, embed_dim: int) -> nn.Sequential:
        """See `ConvStem.layers`."""
        widths = (embed_dim // 6, embed_dim // 3, embed_dim)
        return nn.Sequential(
            conv_norm_act(in_chans, widths[0]),
            conv_norm_act(widths[0], widths[1]),
            nn.MaxPool2d(2),
            Residual(widths[1]),
            conv_norm_act(widths[1], widths[2]),
            nn.MaxPool2d(2),
            Residual(widths[2]),
            nn.Conv2d(widths[2], embed_dim, kernel_size=1),
        )


CONFIG = {
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
    "first_conv": "patch_embed.body.0.0",
    "classifier": "head",
}

default_cfgs = generate_default_cfgs(
    {
        "vit_nano_convstem_patch4_32.untrained": CONFIG,
        "vit_micro_convstem_patch4_32.untrained": CONFIG,
    }
)

NANO = {
    "img_size": 32,
    "patch_size": 4,
    "embed_dim": 128,
    "depth": 4,
    "num_heads": 4,
    "mlp_ratio": 2,
    "embed_layer": ConvStem,
}


@register_model
def vit_nano_convstem_patch4_32(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """0.8 M parameters: a convolutional stem, 64 tokens and a class token of width 128, four blocks of four heads."""
    return build_model_with_cfg(VisionTransformer, "vit_nano_convstem_patch4_32", pretrained, **{**NANO, **kwargs})


@register_model
def vit_micro_convstem_patch4_32(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """The bundled ViT: a deeper stem, 65 tokens of width 192, four blocks of three heads; a graph of 8.5 MB in FP32.

    The nano ViT (width 128) stops at 85 % with a training loss that still falls, so it lacks capacity.
    """
    larger = {**NANO, "embed_dim": 192, "num_heads": 3, "embed_layer": DeepConvStem}
    return build_model_with_cfg(VisionTransformer, "vit_micro_convstem_patch4_32", pretrained, **{**larger, **kwargs})
