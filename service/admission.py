"""A permit for each picture that is worked on: what is over the capacity is refused before any work.

Receiving needs none: who sends slowly keeps nobody else from being answered.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Overloaded

_REMEMBERED = 64
"""Pictures that the rate is measured by."""
_LONGEST_S = 30


class Admission:
    """At most `capacity` pictures at once. `changed` is told by how many there are more or fewer."""

    def __init__(
        self,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.capacity, self._changed = capacity, changed
        self._clock = clock
        self._taken = 0
        self._finished: deque[float] = deque(maxlen=_REMEMBERED)

    def check(self, pictures: int = 1) -> None:
        """Return where there is room for so many pictures now.

        Raises:
            Overloaded: there is none; it says when there may be.
        """
        if self._taken + pictures > self.capacity:
            raise Overloaded(
                f"{self._taken} pictures are being worked on and at most {self.capacity} may be; try again later",
                self._drained_in(),
            )

    @contextmanager
    def permit(self, pictures: int) -> Iterator[None]:
        """Surrounds the work on so many pictures.

        Raises:
            Overloaded: there is no room for them; it says when there may be.
        """
        self.check(pictures)
        self._taken += pictures
        self._changed(pictures)
        try:
            yield
        finally:
            self._taken -= pictures
            self._changed(-pictures)
            self._finished.extend([self._clock()] * pictures)

    def _drained_in(self) -> int:
        """Whole seconds until those that are here are done, at the rate of the last ones; 1 to 30."""
        now = self._clock()
        if not self._finished or now <= self._finished[0]:
            return 1
        rate = len(self._finished) / (now - self._finished[0])
        return min(_LONGEST_S, max(1, math.ceil(self._taken / rate)))
