"""The memory that uploads may take: so much for bodies that arrive, so much for decoding, and no more.

Both are counted before the memory is taken, so that the worst uploads together stay inside what the container grants.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.errors import ImageTooLarge, Overloaded
from service.interruption import Interruption

_CGROUP = Path("/sys/fs/cgroup")
_PATIENCE_SECONDS = 2.0
"""How long a picture waits for memory: as long as two or three of the largest take to decode."""


def memory_limit(cgroup: Path = _CGROUP) -> int:
    """Bytes that this machine has, or fewer where a cgroup (a container) grants less.

    `cgroup` is where a container sees its own cgroup mounted, of version 2 or 1 (kernel documentation, cgroup-v2 and
    cgroup-v1, "Memory").
    """
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # No such cgroup, or no limit: "max".
            least = min(least, int((cgroup / name).read_text()))
    return least


@dataclass(frozen=True)
class Memory:
    """What a worker process may take, in bytes."""

    bodies: int
    decoding: int

    @classmethod
    def shared(cls, total: int, workers: int) -> "Memory":
        """A worker's share: a quarter for bodies, the rest for decoding."""
        share = total // workers
        return cls(bodies=share // 4, decoding=share - share // 4)


class DecodingMemory:
    """Lends `size` bytes to threads that decode. Who waits for some waits in the event loop, and keeps no thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()

    def take(self, needed: int) -> bool:
        """Take so many bytes, unless others have them. From any thread.

        Raises:
            ImageTooLarge: there are never so many.
        """
        if needed > self._size:
            raise ImageTooLarge(
                f"decoding the picture takes {needed // 10**6} MB; at most {self._size // 10**6} MB are there for it"
            )
        with self._lock:
            if self._taken + needed > self._size:
                return False
            self._taken += needed
            return True

    def give_back(self, needed: int) -> None:
        """Give them back, to those who wait first. From any thread."""
        with self._lock:
            self._taken -= needed
            self._serve()

    def _serve(self) -> None:
        """Grant what there is to those who wait, in their order; under the lock."""
        while self._waiting and self._taken + self._waiting[0][0] <= self._size:
            granted, waiting = self._waiting.popleft()
            self._taken += granted
            waiting.get_loop().call_soon_threadsafe(self._grant, granted, waiting)

    async def wait_for(self, needed: int) -> None:
        """Take so many bytes as soon as they are there.

        Raises:
            Overloaded: others kept them too long.
        """
        waiting = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._taken + needed <= self._size:
                self._taken += needed
                return
            self._waiting.append((needed, waiting))
        timer = waiting.get_loop().call_later(_PATIENCE_SECONDS, _expire, waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():  # It was granted before the caller was called off.
                self.give_back(needed)
            raise
        finally:
            timer.cancel()
            with self._lock, suppress(ValueError):  # Granted already.
                self._waiting.remove((needed, waiting))
                self._serve()  # Who stood behind may need less.

    @asynccontextmanager
    async def lent(self, needed: int) -> AsyncIterator[None]:
        """Surrounds work that takes so many bytes; it waits for them as decoding does.

        Raises:
            ImageTooLarge: there are never so many.
            Overloaded: others kept them too long.
        """
        if not self.take(needed):
            await self.wait_for(needed)
        try:
            yield
        finally:
            self.give_back(needed)

    def _grant(self, needed: int, waiting: "asyncio.Future[None]") -> None:
        if waiting.done():
            self.give_back(needed)
        else:
            waiting.set_result(None)


def _expire(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_exception(Overloaded("other large pictures are being decoded; try again shortly"))


class BodyMemory:
    """Lends `size` bytes to bodies that arrive, each of at most `longest`. The largest unfinished body gives way.

    So one that holds much and sends slowly does not keep out the many that are small. Belongs to one event loop.
    """

    def __init__(self, size: int, longest: int) -> None:
        self.size, self.longest = size, longest
        self._held: set[HeldBody] = set()
        self._taken = 0

    def body(self) -> "HeldBody":
        """Room for a body that begins."""
        held = HeldBody(self)
        self._held.add(held)
        return held

    def grow(self, body: "HeldBody", by: int) -> None:
        """Lend `by` more bytes to `body`.

        Raises:
            Overloaded: there are none; or others took those of this body.
        """
        body.check()
        while self._taken + by > self.size:
            unfinished = (each for each in self._held if not each.finished)
            largest = max(unfinished, key=lambda each: each.bytes + (by if each is body else 0), default=body)
            self.take_back(largest)
            largest.give_way()
            body.check()
        self._taken += by
        body.bytes += by

    def take_back(self, body: "HeldBody") -> None:
        """Have back what `body` has; it gets no more."""
        self._held.discard(body)
        self._taken -= body.bytes
        body.bytes = 0


class HeldBody:
    """A body in memory."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._gave_way = False
        self._wait = Interruption()
        self.bytes = 0
        self.finished = False
        """Whether all of it has arrived: then its request is being worked on, and it keeps what it has."""

    def longest(self, copies: float) -> int:
        """How long it may be, where it is in memory so many times."""
        return min(self._memory.longest, int(self._memory.size / copies))

    def waiting(self) -> Interruption:
        """Surrounds the wait for more of it, which ends with `Overloaded` where it gives way."""
        self._wait = Interruption()
        return self._wait

    def grow(self, by: int) -> None:
        """See `BodyMemory.grow`."""
        self._memory.grow(self, by)

    def check(self) -> None:
        """Return while the body has its memory.

        Raises:
            Overloaded: it gave way to others.
        """
        if self._gave_way:
            raise _gave_way()

    def give_way(self) -> None:
        """Leave the memory to others; whoever waits for more of this body is told."""
        self._gave_way = True
        self._wait.end(_gave_way())

    def release(self) -> None:
        """The request is over."""
        self._memory.take_back(self)


def _gave_way() -> Overloaded:
    return Overloaded("too many large bodies arrive at once; try again shortly")
