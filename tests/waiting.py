"""Waiting for something that takes as long as it takes."""

import asyncio
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


async def until_true(condition: Callable[[], bool]) -> None:
    """The same in an event loop."""
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, "not in time"
        await asyncio.sleep(POLL_S / 5)
