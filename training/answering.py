"""What a model in torch answers to pictures as they are served."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


class Normalise(nn.Module):
    """uint8 `[N, H, W, 3]` to a model's input `[N, 3, H, W]` by its mean and standard deviation."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Subtract the mean, divide by the standard deviation, both in levels of 255."""
        normalised: torch.Tensor = (x.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def answers(
    model: nn.Module, images: npt.NDArray[np.uint8], normalise: nn.Module, device: torch.device, batch: int = 256
) -> npt.NDArray[np.float32]:
    """What `model` gives for uint8 `[N, H, W, 3]`, float32 `[N, outputs]`, in evaluation mode."""
    was = model.training
    model.eval()
    rows = [
        model(normalise(torch.from_numpy(images[start : start + batch]).to(device))).float().cpu().numpy()
        for start in range(0, len(images), batch)
    ]
    model.train(was)
    return np.concatenate(rows)


def accuracy(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """Share of the pictures whose largest logit is their class, in percent."""
    return 100.0 * float((logits.argmax(axis=1) == targets).mean())
