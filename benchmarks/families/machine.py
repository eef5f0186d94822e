"""The two roofs of the machine (Williams, Waterman, Patterson 2009): how fast it multiplies, and how fast it moves."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

_EDGE = 2048
_COPIED = 256 << 20
"""Bytes, far beyond every cache."""
_ROUNDS = 7


class Roofs(NamedTuple):
    """Measured here and now, the best of some rounds: other work on the machine only ever takes away."""

    gflops: float
    """Of an FP32 matrix product."""
    gigabytes: float
    """A second, read and written by a copy."""

    def at(self, intensity: float) -> float:
        """GFLOP/s that the roofs allow at so many operations for each byte."""
        return min(self.gflops, intensity * self.gigabytes)


def roofs() -> Roofs:
    """Measure both."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = (torch.rand(_EDGE, _EDGE, device=device) for _ in range(2))
    source = torch.zeros(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = _best(lambda: torch.mm(left, right), device)
    copy = _best(lambda: target.copy_(source), device)
    return Roofs(2 * _EDGE**3 / product / 1e9, 2 * _COPIED / copy / 1e9)


def _best(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest round."""
    took = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - begun)
    return min(took)
