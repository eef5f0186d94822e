"""Pictures as they are learnt from: uint8 arrays in, augmented float arrays out.

Everything is drawn from the global generators of torch, numpy and random (timm's parts draw from all three), which
`seed_all` sets for each step: what a step sees depends on the seed, the epoch and the step, and not on what was before.
"""

import random

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import nn

_PRIME = 1_000_003


def seed_all(*numbers: int) -> None:
    """Set every global generator by these numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * _PRIME + number + 1) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def shifted(images: torch.Tensor, padding: int) -> torch.Tensor:
    """Cut each of uint8 `[N, H, W, 3]` at random out of its reflection-padded self, and flip half of them."""
    count, height, width, _ = images.shape
    planes = images.permute(0, 3, 1, 2).float()
    padded = nn.functional.pad(planes, (padding,) * 4, mode="reflect").permute(0, 2, 3, 1).to(torch.uint8)
    top = torch.randint(0, 2 * padding + 1, (count, 1, 1))
    left = torch.randint(0, 2 * padding + 1, (count, 1, 1))
    flip = torch.rand((count, 1, 1)) < 0.5
    rows = top + torch.arange(height).view(1, height, 1)
    columns = torch.arange(width).view(1, 1, width).expand(count, 1, width)
    columns = left + torch.where(flip, width - 1 - columns, columns)
    return padded[torch.arange(count).view(count, 1, 1), rows, columns]


class Augmentation:
    """Shifts, or random crops, with flips; RandAugment over either."""

    def __init__(
        self, size: tuple[int, int], min_crop: float, rand_augment: str, mean: tuple[float, ...], interpolation: str
    ) -> None:
        self._size, self._shift = size, min_crop >= 1
        self._crop = RandomResizedCropAndInterpolation(size, scale=(min_crop, 1.0), interpolation=interpolation)
        grey = tuple(round(255 * level) for level in mean)
        hints = {"translate_const": round(0.45 * min(size)), "img_mean": grey}
        self._rand = rand_augment_transform(rand_augment, hints) if rand_augment else None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 `[N, H, W, 3]` to uint8 of the model's size."""
        if self._shift:
            images = shifted(images, max(1, min(self._size) // 8))
            return images if self._rand is None else torch.stack([self._one(each) for each in images])
        return torch.stack([self._one(each) for each in images])

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        picture = Image.fromarray(image.numpy())
        if not self._shift:
            picture = self._crop(picture)
            if random.random() < 0.5:  # noqa: S311 (nothing is secret here)
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self._rand is not None:
            picture = self._rand(picture)
        return torch.from_numpy(np.array(picture))
