"""Every Prometheus collector of the gateway, and the stopwatch of one request.

What happened to a request is counted in one place, the middleware; what happened to a picture in another, the pipeline.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from opentelemetry.context import get_current
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, values

STAGES = ("receive", "wait", "decode", "resize", "triton")
"""The timed parts of a request, in order; `wait` is for a thread that decodes. They do not overlap."""

# From a cached 1 ms to the 10 s timeout, dense around the 50 ms that a p99 is held against.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# From a thumbnail to the default body limit, a factor of four apart.
_BYTES = (4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)


class Stages:
    """The stopwatch of one request: seconds spent in each stage, in the order they ended.

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


class Metrics:
    """The collectors, in base units. Label values are bounded: routes, status classes, models served, error codes."""

    def __init__(self, version: str, shared: Path | None = None) -> None:
        registry = CollectorRegistry()
        self.exposed = registry
        """What `/metrics` shows: of all workers together, where they share a folder."""
        if shared is not None:
            self.exposed = CollectorRegistry()
            multiprocess.MultiProcessCollector(self.exposed, str(shared))  # type: ignore[no-untyped-call]
        self.requests = Counter(
            "vitrine_requests", "Requests answered, by route and status class.", ["route", "status"], registry=registry
        )
        self.stage_seconds = Histogram(
            "vitrine_stage_duration_seconds",
            "Time spent in each stage of a classify request, by route; `total` is the whole request.",
            ["route", "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "vitrine_images",
            "Pictures by model and outcome: `ok` or an error code.",
            ["model", "outcome"],
            registry=registry,
        )
        self.rejections = Counter(
            "vitrine_rejections", "Requests answered with an error, by its code.", ["reason"], registry=registry
        )
        self.in_flight = Gauge(
            "vitrine_in_flight_requests",
            "Requests being answered now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.upload_bytes = Histogram(
            "vitrine_upload_bytes", "Size of pictures received.", buckets=_BYTES, registry=registry
        )
        self.workers = Gauge(
            "vitrine_workers", "Worker processes that serve.", registry=registry, multiprocess_mode="livesum"
        )
        self.workers.set(1)
        build = Gauge(
            "vitrine_build_info",
            "Always 1; the labels say what runs.",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        build.labels(version).set(1)

    def observe(self, route: str, stages: Stages) -> None:
        """Record the stages of a finished classify request."""
        for stage, seconds in stages.seconds.items():
            self.stage_seconds.labels(route, stage).observe(seconds)
        self.stage_seconds.labels(route, "total").observe(stages.total())


def share(folder: Path, slot: int) -> None:
    """Keep the values of every collector made from here on in `folder`, under the name of this worker's slot.

    A worker that takes over a slot goes on counting where the one before it stopped: counters never go back, and
    there are as many files as slots, not as many as processes that ever were.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def forget(folder: Path, slot: int) -> None:
    """The worker of `slot` is gone, and with it what it was doing: its gauges."""
    multiprocess.mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]
