"""Networks for pictures of 32 x 32, registered with timm: a CNN that teaches, and a plain ViT to be pre-trained."""

from collections.abc import Mapping
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from training.architecture import CONFIG, Residual, conv_norm_act

__all__ = ["ResNet9"]


class ResNet9(nn.Module):
    """Eight 3x3 convolutions, four of them in pairs with an identity path, and a linear head (Page 2018).

    A convolution sees neighbours from the first step, so that a few epochs on CIFAR-10 are enough: what a ViT learns
    slowly from labels it learns faster from this network's probabilities (Touvron et al. 2020, section 5.2).
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        width: int = 32,
        drop_path_rate: float = 0.0,
        global_pool: str = "max",
        **_: Any,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_chans, self.global_pool = num_classes, in_chans, global_pool
        self.num_features = self.head_hidden_size = 8 * width
        self.stem = conv_norm_act(in_chans, width)
        self.stages = nn.Sequential(
            nn.Sequential(conv_norm_act(width, 2 * width), nn.MaxPool2d(2), Residual(2 * width, drop_path_rate / 2)),
            nn.Sequential(conv_norm_act(2 * width, 4 * width), nn.MaxPool2d(2)),
            nn.Sequential(conv_norm_act(4 * width, 8 * width), nn.MaxPool2d(2), Residual(8 * width, drop_path_rate)),
        )
        self.fc = nn.Linear(8 * width, num_classes) if num_classes else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> Mapping[str, Any]:  # noqa: ARG002 (timm's interface)
        """Which parameters belong to which depth, as timm asks it."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head for so many classes; none for 0."""
        self.num_classes, self.global_pool = num_classes, global_pool or self.global_pool
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, 3, H, W]` to `[N, num_features, H/8, W/8]`."""
        features: torch.Tensor = self.stages(self.stem(x))
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features to logits `[N, classes]`, or to `[N, num_features]`."""
        pooled = x.amax(dim=(2, 3)) if self.global_pool == "max" else x.mean(dim=(2, 3))
        if pre_logits:
            return pooled
        logits: torch.Tensor = self.fc(pooled)
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, 3, H, W]` to logits `[N, classes]`."""
        return self.forward_head(self.forward_features(x))


default_cfgs = generate_default_cfgs(
    {
        "resnet9_32.untrained": {**CONFIG, "first_conv": "stem.0", "classifier": "fc"},
        "vit_nano_patch4_32.untrained": {**CONFIG, "first_conv": "patch_embed.proj"},
    }
)


@register_model
def resnet9_32(pretrained: bool = False, **kwargs: Any) -> ResNet9:
    """The teacher: 1.65 M parameters, 0.095 G multiply-adds for a picture."""
    return build_model_with_cfg(ResNet9, "resnet9_32", pretrained, **kwargs)


@register_model
def vit_nano_patch4_32(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """2.7 M parameters: a plain patch embedding, as masking needs it, 65 tokens of width 192, six blocks."""
    arguments = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "depth": 6, "num_heads": 3}
    return build_model_with_cfg(VisionTransformer, "vit_nano_patch4_32", pretrained, **{**arguments, **kwargs})
