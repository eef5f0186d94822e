"""The stopwatch of one request."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from opentelemetry.context import get_current
from opentelemetry.trace import Tracer

STAGES = ("receive", "wait", "decode", "resize", "triton")
"""The timed parts of a request, in order; `wait` is for a thread that decodes. They do not overlap."""


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
    def rest(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to `stage`, less what other stages took of it."""
        start, known = time.perf_counter(), sum(self._seconds.values())
        try:
            yield
        finally:
            others = sum(self._seconds.values()) - known
            self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - start - others

    def total(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self.started

    def server_timing(self) -> str:
        """The value of the `Server-Timing` header (W3C Server Timing), durations in milliseconds."""
        timed = [*self.seconds.items(), ("total", self.total())]
        return ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in timed)
