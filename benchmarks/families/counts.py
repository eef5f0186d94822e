"""What a model consists of and computes, counted; nothing is timed.

A multiply-add is two operations (torch's `FlopCounterMode` counts so; papers often count it as one). Bytes are those of
FP32 for each module that has no modules inside: it reads its input and its weights and writes its output once. Fused
kernels move less, so the true intensity is at least this.
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_BYTES = 4
_IDLE = (nn.Identity, nn.Dropout)
"""What moves nothing when it answers."""


class Counts(NamedTuple):
    """Of one picture."""

    parameters: int
    gflops: float
    activation_bytes: int
    """Read and written between modules."""

    def intensity(self, batch: int) -> float:
        """Operations for each byte moved, in a batch whose pictures share the weights."""
        moved = self.parameters * _BYTES + batch * self.activation_bytes
        return batch * self.gflops * 1e9 / moved


def count(model: nn.Module, size: tuple[int, int]) -> Counts:
    """The counts of `model` for a picture of `size`, height and width. Its attention must be written out, not fused."""
    moved = 0

    def after(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal moved
        tensors = [each for each in (*inputs, output) if isinstance(each, torch.Tensor)]
        moved += sum(tensor.numel() for tensor in tensors) * _BYTES

    leaves = [each for each in model.modules() if not list(each.children()) and not isinstance(each, _IDLE)]
    hooks = [module.register_forward_hook(after) for module in leaves]
    try:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(torch.zeros(1, 3, *size))
    finally:
        for hook in hooks:
            hook.remove()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Counts(parameters, counter.get_total_flops() / 1e9, moved)


def attention_bytes(batch: int, heads: int, tokens: int, bytes_each: int = _BYTES) -> int:
    """Of one layer's attention matrices, where they are written out: a number for each pair of tokens."""
    return batch * heads * tokens**2 * bytes_each


def tokens_of(edge: int, patch: int) -> int:
    """Tokens of a square picture: its patches and the class token."""
    return (edge // patch) ** 2 + 1
