"""Pictures and probabilities as arrays, and what answers the one with the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from build_engines.errors import InvalidOutputError

Pixels = npt.NDArray[np.uint8]
"""Pictures as they are served: `[pictures, height, width, 3]`."""
Probabilities = npt.NDArray[np.float32]
"""A row for each picture: `[pictures, classes]`."""
Maps = npt.NDArray[np.float32]
"""Numbers for each picture, of any shape: `[pictures, ...]`."""
Classes = npt.NDArray[np.int64]
"""The index of a class for each picture: `[pictures]`."""

_SUM_TOLERANCE = 0.01
"""Of a row's sum: 1000 probabilities rounded to FP16 sum to within 0.0005 of 1."""


class Session(Protocol):
    """What answers pictures: a graph or an engine in its runtime."""

    @property
    def runtime(self) -> str:
        """What runs it, in words for a report."""

    def run(self, images: Pixels) -> Probabilities:
        """Float32 `[n, classes]` to uint8 `[n, height, width, 3]`, complete when it returns."""


@dataclass(frozen=True)
class Spent:
    """Seconds of one run on a device."""

    compute: float
    copies: float
    """To the device and back."""


@runtime_checkable
class DeviceSession(Session, Protocol):
    """A session on a device, whose own clock is read, and which replays captured graphs at some batch sizes."""

    @property
    def graphs(self) -> tuple[int, ...]:
        """The batch sizes that run by a graph."""

    def capture(self, sizes: Sequence[int]) -> None:
        """Capture a graph for each of these batch sizes."""

    def time(self, images: Pixels) -> Spent:
        """What `run` takes."""


def answers(session: Session, images: Pixels, batch: int = 32) -> Probabilities:
    """The answers to all `images`, uint8 `[N, height, width, 3]`, as float32 `[N, classes]`, `batch` at a time.

    Raises:
        InvalidOutputError: the runtime fails, or does not make one row for each picture.
    """
    rows = []
    for start in range(0, len(images), batch):
        some = np.ascontiguousarray(images[start : start + batch])
        row = session.run(some)
        if row.ndim != 2 or len(row) != len(some):
            raise InvalidOutputError(
                f"{len(some)} pictures were answered with an array of shape {list(row.shape)}, not with one row each; "
                "the graph's batch must be free"
            )
        rows.append(row.astype(np.float32, copy=False))
    return np.concatenate(rows)


def check_probabilities(who: str, rows: Probabilities) -> None:
    """Demand that `who` answered with probabilities.

    Raises:
        InvalidOutputError: a number is NaN, infinite or below 0, or a row's sum is not 1.
    """
    broken = int((~np.isfinite(rows).all(axis=1)).sum())
    if broken:
        raise InvalidOutputError(
            f"{who} answers NaN or infinity on {broken} of {len(rows)} pictures: a number left the range of its "
            "format. Build it at a higher precision"
        )
    wrong = int(((np.abs(rows.sum(axis=1, dtype=np.float64) - 1) > _SUM_TOLERANCE) | (rows < 0).any(axis=1)).sum())
    if wrong:
        raise InvalidOutputError(
            f"{who} answers {wrong} of {len(rows)} pictures with numbers that are no probabilities (below 0, or their "
            "sum is not 1): the softmax must stay in the graph, in high precision"
        )
