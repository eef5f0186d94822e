"""Pictures, what the encoder saw of them, and what the decoder painted, side by side."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training.answering import Normalise
from training.masked_autoencoder.model import MaskedAutoencoder, Painted, normalised, patchified, unpatchified

_GREY = 0.5
_GAP = 4
_LEAST = 128
"""Pixels of the edge of a picture in the figure, at least."""


def panels(
    model: MaskedAutoencoder, images: torch.Tensor, painted: Painted, normalise: Normalise
) -> npt.NDArray[np.uint8]:
    """uint8 `[N, 3, H, W, 3]`: each picture, with its masked patches grey, and with them as painted.

    The decoder paints normalised patches; each gets the mean and the deviation that the picture has there, as in the
    paper's own figures.
    """
    true = patchified(images, model.patch)
    _, mean, deviation = normalised(true)
    masked = painted.masked.unsqueeze(-1)
    grey = ((_GREY * 255 - normalise.mean) / normalise.std).expand_as(images)
    hidden = true * (1 - masked) + patchified(grey, model.patch) * masked
    whole = true * (1 - masked) + (painted.patches * deviation + mean) * masked
    rows = []
    for patches in (true, hidden, whole):
        pixels = unpatchified(patches, model.patch, model.grid) * normalise.std + normalise.mean
        rows.append(pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return np.stack(rows, axis=1)


def draw(model: MaskedAutoencoder, images: torch.Tensor, painted: Painted, normalise: Normalise, path: Path) -> None:
    """Write a PNG with a row for each picture."""
    found = panels(model, images, painted, normalise)
    scale = max(1, _LEAST // found.shape[2])
    found = found.repeat(scale, axis=2).repeat(scale, axis=3)
    count, columns, height, width, _ = found.shape
    sheet = np.full((count * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for row in range(count):
        for column in range(columns):
            top, left = row * (height + _GAP), column * (width + _GAP)
            sheet[top : top + height, left : left + width] = found[row, column]
    Image.fromarray(sheet).save(path)
