"""The masked autoencoder: timm's ViT sees a quarter of the patches, and a light decoder paints the rest.

As in the paper and its code: patches are masked at random and per picture, the encoder has no mask tokens, positions
are fixed sines and cosines, and the loss is the mean squared error of normalised pixels on masked patches only.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from training.errors import RecipeError

_STD = 0.02
_NORM_EPS = 1e-6


class Mask(NamedTuple):
    """Which patches of each picture are seen."""

    kept: torch.Tensor
    """Their places, int64 `[N, kept]`, in the order in which the encoder sees them."""
    restore: torch.Tensor
    """For each place, where it is among the kept ones and then the masked ones, int64 `[N, patches]`."""
    masked: torch.Tensor
    """1 where a patch is masked, float32 `[N, patches]`."""


class Painted(NamedTuple):
    """What comes of a batch."""

    loss: torch.Tensor
    """A scalar."""
    patches: torch.Tensor
    """What the decoder paints, normalised, `[N, patches, patch * patch * 3]`; that of seen ones counts nothing."""
    masked: torch.Tensor
    """See `Mask.masked`."""


def masking(noise: torch.Tensor, ratio: float) -> Mask:
    """Keep the patches of the least `noise`, float32 `[N, patches]`; `ratio` of them are masked."""
    count = noise.shape[1]
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    kept = int(count * (1 - ratio))
    masked = torch.ones_like(noise)
    masked[:, :kept] = 0
    return Mask(order[:, :kept], restore, masked.gather(1, restore))


def patchified(images: torch.Tensor, patch: int) -> torch.Tensor:
    """`[N, 3, H, W]` to `[N, patches, patch * patch * 3]`, row by row, colours last, as the paper's code has them."""
    count, colours, height, width = images.shape
    parts = images.reshape(count, colours, height // patch, patch, width // patch, patch)
    return parts.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, patch * patch * colours)


def unpatchified(patches: torch.Tensor, patch: int, grid: tuple[int, int]) -> torch.Tensor:
    """The way back of `patchified`."""
    count, colours = len(patches), patches.shape[2] // patch**2
    parts = patches.reshape(count, *grid, patch, patch, colours).permute(0, 5, 1, 3, 2, 4)
    return parts.reshape(count, colours, grid[0] * patch, grid[1] * patch)


def positions(width: int, grid: tuple[int, int]) -> torch.Tensor:
    """Fixed sines and cosines of each patch's column and row, `[1, 1 + patches, width]`; zeros for the class token.

    Each axis has half of the width: sines, then cosines (`get_2d_sincos_pos_embed` of the paper's code).
    """
    omega = 1.0 / 10_000 ** (np.arange(width // 4, dtype=np.float64) / (width / 4))
    rows, columns = np.meshgrid(np.arange(grid[0]), np.arange(grid[1]), indexing="ij")
    halves = []
    for axis in (columns, rows):
        angles = np.outer(axis.reshape(-1), omega)
        halves.append(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
    found = np.concatenate([np.zeros((1, width)), np.concatenate(halves, axis=1)])
    return torch.from_numpy(found).float().unsqueeze(0)


class MaskedAutoencoder(nn.Module):
    """An encoder of timm's with a decoder over it.

    Args:
        encoder: a plain ViT with a class token, without a head.
        mask_ratio: share of the patches that are masked.
        decoder_width: of the decoder; None is the paper's 512, or half of the encoder's for small ones.
        decoder_depth: its blocks; None is the paper's 8, or 2 for small encoders.

    Raises:
        RecipeError: the model is none of those.
    """

    def __init__(
        self,
        encoder: nn.Module,
        mask_ratio: float = 0.75,
        decoder_width: int | None = None,
        decoder_depth: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = checked(encoder)
        self.mask_ratio = mask_ratio
        embed: Any = self.encoder.patch_embed
        self.patch, self.grid = int(embed.patch_size[0]), (int(embed.grid_size[0]), int(embed.grid_size[1]))
        wide = self.encoder.embed_dim
        large = wide >= 384  # The paper's least is ViT-B of 768; DeiT-S is between.
        width = decoder_width or (512 if large else max(64, wide // 2 // 32 * 32))
        depth = decoder_depth or (8 if large else 2)
        with torch.no_grad():
            self.encoder.pos_embed.copy_(positions(wide, self.grid))
        self.encoder.pos_embed.requires_grad_(False)
        self.decoder_embed = nn.Linear(wide, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_positions: torch.Tensor
        self.register_buffer("decoder_positions", positions(width, self.grid))
        heads = max(1, width // 32)
        norm: Any = partial(nn.LayerNorm, eps=_NORM_EPS)
        blocks = (Block(width, heads, 4.0, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        self.decoder = nn.Sequential(*blocks)
        self.decoder_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.paint = nn.Linear(width, self.patch**2 * 3)
        self._begin()

    def _begin(self) -> None:
        """The paper's first weights: Xavier's for linear layers, the first projection among them."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        projection: Any = self.encoder.patch_embed.proj
        nn.init.xavier_uniform_(projection.weight.view(len(projection.weight), -1))
        nn.init.normal_(self.encoder.cls_token, std=_STD)
        nn.init.normal_(self.mask_token, std=_STD)

    def no_weight_decay(self) -> set[str]:
        """What timm's optimizers leave out beside biases and norms."""
        return {"mask_token", "encoder.cls_token", "encoder.pos_embed"}

    def encode(self, images: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """The encoder's tokens of the patches `kept` alone: `[N, 1 + kept, width]`, the class token first."""
        encoder = self.encoder
        seen: torch.Tensor = encoder.patch_embed(images) + encoder.pos_embed[:, 1:]
        seen = seen.gather(1, kept.unsqueeze(-1).expand(-1, -1, seen.shape[2]))
        first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(seen), -1, -1)
        tokens: torch.Tensor = encoder.norm(encoder.blocks(encoder.norm_pre(torch.cat([first, seen], dim=1))))
        return tokens

    def decode(self, tokens: torch.Tensor, restore: torch.Tensor) -> torch.Tensor:
        """What the encoder's tokens become: every patch's pixels, `[N, patches, patch * patch * 3]`."""
        first, seen = self.decoder_embed(tokens).split([1, tokens.shape[1] - 1], dim=1)
        hidden = self.mask_token.expand(len(seen), restore.shape[1] - seen.shape[1], -1)
        each = torch.cat([seen, hidden], dim=1)
        each = each.gather(1, restore.unsqueeze(-1).expand(-1, -1, each.shape[2]))
        painted = self.decoder(torch.cat([first, each], dim=1) + self.decoder_positions)
        pixels: torch.Tensor = self.paint(self.decoder_norm(painted))
        return pixels[:, 1:]

    def forward(self, images: torch.Tensor, noise: torch.Tensor) -> Painted:
        """Mask by `noise`, float32 `[N, patches]`, and paint; `images` are the encoder's normalised input."""
        mask = masking(noise, self.mask_ratio)
        patches = self.decode(self.encode(images, mask.kept), mask.restore)
        target, _, _ = normalised(patchified(images, self.patch))
        each = (patches - target).square().mean(dim=2)
        return Painted((each * mask.masked).sum() / mask.masked.sum(), patches, mask.masked)


def normalised(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each patch with mean 0 and variance 1, and the mean and the deviation that it had, each `[N, patches, ...]`."""
    mean = patches.mean(dim=2, keepdim=True)
    deviation = (patches.var(dim=2, keepdim=True) + _NORM_EPS).sqrt()
    return (patches - mean) / deviation, mean, deviation


def checked(encoder: nn.Module) -> Any:
    """A model whose visible tokens know nothing of masked patches.

    Raises:
        RecipeError: it is not such a model; the message says why.
    """
    if not isinstance(encoder, VisionTransformer):
        raise RecipeError(f"{type(encoder).__name__} is no ViT: masked patches can only be left out of a plain one")
    if not isinstance(encoder.patch_embed, PatchEmbed):
        raise RecipeError(
            f"its patches come from {type(encoder.patch_embed).__name__}, where each sees its neighbours, also masked "
            "ones; take one with a plain patch embedding, such as vit_nano_patch4_32 or vit_small_patch16_224"
        )
    if not encoder.has_class_token or encoder.num_prefix_tokens != 1 or encoder.no_embed_class:
        raise RecipeError("only a ViT with one class token, and no distillation or register tokens, can be pre-trained")
    if encoder.pos_embed is None or encoder.embed_dim % 4:
        raise RecipeError("only a ViT with position embeddings, and a width that 4 divides, can be pre-trained")
    return encoder
