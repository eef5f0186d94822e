"""What cuts a wait short: a deadline, a client that leaves, memory that others need."""

import asyncio
import sys
from types import TracebackType

from service.errors import VitrineError


class Interruption:
    """Surrounds a wait of the current task. Once `end` is called it ends, with an error of ours. For one use.

    Not anyio's scope: grpc answers a cancellation with one of its own, which that does not know again; and two of those
    took a twelfth of the event loop's time.
    """

    def __init__(self, seconds: float | None = None, late: VitrineError | None = None) -> None:
        self._seconds, self._late = seconds, late
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._why: VitrineError | None = None

    def __enter__(self) -> "Interruption":
        self._task = asyncio.current_task()
        if self._seconds is not None and self._late is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self._seconds), self.end, self._late)
        return self

    def end(self, why: VitrineError) -> None:
        """End the wait with `why`. Where there is none any more, or it was ended before, nothing happens."""
        if self._task is not None and self._why is None:
            self._why = why
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        if self._why is None or task is None:
            return
        if sys.version_info >= (3, 11):
            task.uncancel()
        if isinstance(error, asyncio.CancelledError):
            raise self._why from None
