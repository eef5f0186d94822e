"""A wait that is cut short, and one that is not."""

import asyncio
import sys

import pytest

from service.errors import DeadlineExceeded, Overloaded
from service.interruption import Interruption

LATE = DeadlineExceeded("late")
FULL = Overloaded("full")


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling() if sys.version_info >= (3, 11) else 0


async def test_a_wait_that_ends_in_time_is_left_alone() -> None:
    with Interruption(30, LATE) as interruption:
        await asyncio.sleep(0)
    interruption.end(FULL)
    await asyncio.sleep(0)
    assert cancellations() == 0


@pytest.mark.parametrize("seconds", [-1, 0, 0.01])
async def test_a_wait_that_takes_too_long_ends_with_the_error(seconds: float) -> None:
    with pytest.raises(DeadlineExceeded), Interruption(seconds, LATE):
        await asyncio.Event().wait()
    assert cancellations() == 0


async def test_the_first_reason_counts() -> None:
    async def wait() -> None:
        with Interruption() as interruption:
            asyncio.get_running_loop().call_soon(interruption.end, FULL)
            asyncio.get_running_loop().call_soon(interruption.end, LATE)
            await asyncio.Event().wait()

    with pytest.raises(Overloaded):
        await wait()
    assert cancellations() == 0


async def test_of_two_that_end_at_once_the_inner_one_counts_and_nothing_is_left_over() -> None:
    async def wait() -> None:
        with Interruption() as outer, Interruption() as inner:
            asyncio.get_running_loop().call_soon(outer.end, LATE)
            asyncio.get_running_loop().call_soon(inner.end, FULL)
            await asyncio.Event().wait()

    with pytest.raises(Overloaded):
        await wait()
    await asyncio.sleep(0)
    assert cancellations() == 0


async def test_an_error_of_the_work_itself_passes() -> None:
    with pytest.raises(ValueError, match="own"), Interruption(30, LATE):
        raise ValueError("own")


async def test_whoever_cancels_the_task_itself_is_not_answered_with_an_error_of_ours() -> None:
    async def wait() -> None:
        with Interruption(30, LATE):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
