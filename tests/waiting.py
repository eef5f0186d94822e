"""Waiting for something that takes as long as it takes."""

import time
from collections.abc import Callable

POLL_S = 0.05
DEADLINE_S = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Poll `condition`; fail where it has not come true in time."""
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, "not in time"
        time.sleep(POLL_S)
