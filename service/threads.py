"""Work side by side: in threads what takes CPU, and coroutines that end together. What is called off holds nothing."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")


class Threads:
    """As many threads as `count`, and no queue behind them: there, cancelled work would keep what it holds."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, "decode")
        self._free = asyncio.Semaphore(count)

    def __enter__(self) -> "Threads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    async def run(self, work: Callable[..., _T], *arguments: object, after: Callable[[], object] = lambda: None) -> _T:
        """What `work` returns. Cancelled, it is not begun; once begun, it keeps its thread to the end.

        `after` is called once, when it has ended or will not begin, in any thread.
        """
        loop = asyncio.get_running_loop()
        try:
            await self._free.acquire()
        except BaseException:
            after()
            raise
        waiting: asyncio.Future[_T] = loop.create_future()

        def ended(running: "Future[_T]") -> None:
            after()
            with suppress(RuntimeError):  # The loop may have ended before a thread did.
                loop.call_soon_threadsafe(told, running)

        def told(running: "Future[_T]") -> None:
            self._free.release()
            if waiting.cancelled():
                return
            if error := running.exception():
                waiting.set_exception(error)
            else:
                waiting.set_result(running.result())

        # Not asyncio's wrapper: the loop would be woken once for the result and once for the thread that is free.
        submitted = self._pool.submit(work, *arguments)
        submitted.add_done_callback(ended)
        try:
            return await waiting
        except asyncio.CancelledError:
            submitted.cancel()
            raise


async def together(work: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What all of them return. Where one fails or the caller is called off, so are the others, and they have ended."""
    first, *others = work
    if not others:
        return [await first]
    tasks = [asyncio.ensure_future(each) for each in (first, *others)]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
