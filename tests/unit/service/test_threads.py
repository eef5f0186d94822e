"""Work side by side, and what is left of it when it is called off."""

import asyncio
import gc
import threading
import weakref

import pytest

from service.threads import Threads, together


class Content:
    """Stands for a body."""


async def test_as_many_run_at_once_as_there_are_threads() -> None:
    running, most, lock, leave = 0, 0, threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        leave.wait(5)
        with lock:
            running -= 1

    with Threads(2) as threads:
        tasks = [asyncio.ensure_future(threads.run(work)) for _ in range(6)]
        await asyncio.sleep(0.05)
        leave.set()
        await asyncio.gather(*tasks)
    assert most == 2


async def test_an_error_in_a_thread_is_the_callers_and_frees_the_thread() -> None:
    def fail() -> None:
        raise ValueError("broken")

    with Threads(1) as threads:
        for _ in range(3):
            with pytest.raises(ValueError, match="broken"):
                await threads.run(fail)


async def test_what_is_called_off_while_it_waits_is_not_begun_and_holds_nothing() -> None:
    leave = threading.Event()
    begun: list[Content] = []
    content = Content()
    freed = weakref.ref(content)

    with Threads(1) as threads:
        busy = asyncio.ensure_future(threads.run(leave.wait, 5))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(threads.run(begun.append, content))
        await asyncio.sleep(0)
        del content
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        del waiting
        await asyncio.sleep(0)  # The loop itself holds the task that woke this one up.
        gc.collect()
        assert freed() is None
        leave.set()
        await busy
    assert begun == []


async def test_a_thread_that_goes_on_after_its_caller_left_is_not_given_away() -> None:
    leave, running = threading.Event(), threading.Event()

    def work() -> None:
        running.set()
        leave.wait(5)

    with Threads(1) as threads:
        first = asyncio.ensure_future(threads.run(work))
        await asyncio.to_thread(running.wait, 5)
        first.cancel()
        second = asyncio.ensure_future(threads.run(lambda: "done"))
        await asyncio.sleep(0.02)
        assert not second.done()
        leave.set()
        assert await asyncio.wait_for(second, 5) == "done"


async def test_together_is_in_order() -> None:
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert await together(after(seconds) for seconds in (0.02, 0.0, 0.01)) == [0.02, 0.0, 0.01]
    assert await together(after(seconds) for seconds in (0.0,)) == [0.0]


@pytest.mark.parametrize("left", [True, False])
async def test_where_one_fails_or_the_caller_leaves_the_others_have_ended(left: bool) -> None:
    ended: list[str] = []

    async def long() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("long")

    async def fail() -> None:
        await asyncio.sleep(30 if left else 0)
        raise ValueError("broken")

    task = asyncio.ensure_future(together(work() for work in (long, fail, long)))
    await asyncio.sleep(0.01 if left else 0)
    if left:
        task.cancel()
    with pytest.raises(asyncio.CancelledError if left else ValueError):
        await task
    assert ended == ["long", "long"]
