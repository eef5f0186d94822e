"""How often a key may be used, in one process or in several that share a file."""

import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_BYTES = 8
"""A double's."""


class Cells:
    """So many numbers, 0.0 at first; those of all processes that name the same file are the same.

    The kernel frees the lock of a process that is killed (flock(2)), as it would not free a semaphore.
    """

    def __init__(self, count: int, shared: Path | None = None) -> None:
        self._file: int | None = None
        self.values = memoryview(bytearray(_BYTES * count)).cast("d")
        if shared is not None:
            self._file = os.open(shared, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, _BYTES * count)  # Keeps what is there.
            self.values = memoryview(mmap.mmap(self._file, _BYTES * count)).cast("d")

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process reads or writes them meanwhile."""
        if self._file is None:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


class Rate:
    """At most `rate` requests a second, and as many as a second's worth at once, but at least one.

    It is a token bucket in the form of the generic cell rate algorithm (ITU-T I.371): its whole state is one time, when
    the bucket will be full again. Processes that share it need one clock: `time.monotonic` is, on Linux.
    """

    def __init__(self, rate: float, cells: Cells, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._burst = max(1.0, rate) * self._interval
        self._cells, self._number, self._clock = cells, number, clock

    def take(self) -> float:
        """Take one request, or say in how many seconds there will be one; 0 where there was one."""
        with self._cells.held():
            now = self._clock()
            full_at = max(self._cells.values[self._number], now) + self._interval
            if full_at - now > self._burst + 1e-9:  # A sum of intervals is not exact.
                return full_at - now - self._burst
            self._cells.values[self._number] = full_at
            return 0.0
