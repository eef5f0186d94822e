"""How often a key may be used, in one process or in several that share a file."""

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_BYTES = 8
"""A double's."""


class Cells(Protocol):
    """Numbers that can be changed."""

    def __getitem__(self, number: int, /) -> float: ...

    def __setitem__(self, number: int, value: float, /) -> None: ...


class Rate:
    """At most `rate` requests a second, and as many as a second's worth at once, but at least one.

    It is a token bucket in the form of the generic cell rate algorithm (ITU-T I.371), whose whole state is one time:
    when the bucket will be full again. So processes may share it without a lock, which one that is killed would
    hold for ever. Two that ask in the same microsecond may be granted one request as two.
    """

    def __init__(self, rate: float, cells: Cells, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._burst = max(1.0, rate) * self._interval
        self._cells, self._number, self._clock = cells, number, clock

    def take(self) -> float:
        """Take one request, or say in how many seconds there will be one; 0 where there was one."""
        now = self._clock()
        full_at = max(self._cells[self._number], now) + self._interval
        if full_at - now > self._burst + 1e-9:  # A sum of intervals is not exact.
            return full_at - now - self._burst
        self._cells[self._number] = full_at
        return 0.0


def shared_cells(path: Path, count: int) -> Cells:
    """So many numbers that all processes with the file at `path` have in common; 0.0 at first.

    The clock for them must be the machine's: `time.monotonic` is on Linux.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, _BYTES * count)  # Keeps what is there.
        return memoryview(mmap.mmap(descriptor, _BYTES * count)).cast("d")
    finally:
        os.close(descriptor)
