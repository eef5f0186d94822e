"""When a child that has ended is started again: soon at first, later each time, and not for ever."""

from collections import deque

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
WINDOW_S = 60.0
MOST_ENDINGS = 5


class Restarts:
    """The endings of one child within the last minute."""

    def __init__(self) -> None:
        self._endings: deque[float] = deque()

    def pause(self, now: float) -> float | None:
        """How long to wait after an ending at `now`, in seconds; None where it has ended too often."""
        self._endings.append(now)
        while now - self._endings[0] > WINDOW_S:
            self._endings.popleft()
        if len(self._endings) >= MOST_ENDINGS:
            return None
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 4.0 ** (len(self._endings) - 1))
