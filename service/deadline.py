"""When a request must be answered, carried from the door to Triton."""

import time
from dataclasses import dataclass

from service.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """A moment of this process's monotonic clock, in seconds."""

    at: float
    hurried: bool = False
    """Whether the caller asked for an answer sooner than the gateway promises one."""

    @classmethod
    def after(cls, seconds: float, *, hurried: bool = False) -> "Deadline":
        """So many seconds from now."""
        return cls(time.monotonic() + seconds, hurried)

    @property
    def left(self) -> float:
        """Seconds until then; 0 or less where it is too late."""
        return self.at - time.monotonic()

    def remaining(self) -> float:
        """Seconds until then, above 0.

        Raises:
            DeadlineExceeded: there are none.
        """
        if (left := self.left) <= 0:
            raise DeadlineExceeded("the deadline passed before there was an answer")
        return left
