"""The stopwatch of one request."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from opentelemetry.context import get_current
from opentelemetry.trace import Tracer

STAGES = ("receive", "wait", "decode", "resize", "triton", "render")
"""The timed parts of a request, in order; `wait` is for a thread that decodes, `render` draws an explanation's map.
They do not overlap."""


class Stages:
    """Seconds spent in each stage, in the order they ended.

    With a `tracer` each stage is a span as well, a child of the span that is current here, in whichever thread it runs.
    """

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._tracer = tracer
        self._context = get_current() if tracer else None

    @property
    def seconds(self) -> dict[str, float]:
        """Those of each stage by now. A copy: after a deadline a thread may still be at work, and add its own."""
        return dict(self._seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to `stage`, also when an error leaves it."""
        span = self._tracer.start_as_current_span(stage, self._context) if self._tracer else nullcontext()
        start = time.perf_counter()
        try:
            with span:
                yield
        finally:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - start

    @contextmanager
    def side_by_side(self, count: int, rest: str) -> Iterator[list["Stages"]]:
        """A stopwatch for each of several pieces of work that run at the same time, in whichever thread.

        Each stage gets the mean of what they time, and `rest` what else passes meanwhile, so that the stages add up.
        """
        pieces = [Stages(self._tracer) for _ in range(count)]
        start = time.perf_counter()
        try:
            yield pieces
        finally:
            passed = time.perf_counter() - start
            timed = [piece.seconds for piece in pieces]
            for stage in dict.fromkeys(stage for seconds in timed for stage in seconds):
                mean = sum(seconds.get(stage, 0.0) for seconds in timed) / count
                self._seconds[stage] = self._seconds.get(stage, 0.0) + mean
                passed -= mean
            self._seconds[rest] = self._seconds.get(rest, 0.0) + max(0.0, passed)

    def total(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self.started

    def server_timing(self) -> str:
        """The value of the `Server-Timing` header (W3C Server Timing), durations in milliseconds."""
        timed = [*self.seconds.items(), ("total", self.total())]
        return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in timed)
