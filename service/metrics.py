"""The Prometheus metrics that the gateway counts; `service.catalog_collector` has those of the catalog.

What happened to a request is counted in one place, the middleware; what happened to a picture in another, the pipeline.
"""

import os
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, values

from service.stages import Stages

# From a cached 1 ms to the 10 s timeout, dense around the 50 ms that a p99 is held against.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# From a thumbnail to the default body limit, a factor of four apart.
_BYTES = (4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)


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
            "vitrine_requests",
            "Requests by route, status class and whose fault it is that there is no answer: `none` (there is one), "
            "`caller`, `shed` (turned away at capacity) or `ours`.",
            ["route", "status", "fault"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "vitrine_stage_duration_seconds",
            "Time spent in each stage of a request with pictures that was answered, by route; `total` is all of it.",
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
            "vitrine_rejections",
            "Requests answered with an error, by its code and whose fault it is, as in `vitrine_requests_total`.",
            ["reason", "fault"],
            registry=registry,
        )
        self.catalog_faults = Counter(
            "vitrine_catalog_faults",
            "Errors that nobody foresaw in looking at what Triton has. The log has each; the watch goes on.",
            registry=registry,
        )
        self.in_flight = Gauge(
            "vitrine_in_flight_requests",
            "Requests being answered now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.in_flight_pictures = Gauge(
            "vitrine_in_flight_pictures",
            "Pictures being worked on now, of which VITRINE_MAX_IN_FLIGHT may be in each worker.",
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
        self._stage_of = cache(self.stage_seconds.labels)

    def observe(self, route: str, stages: Stages) -> None:
        """Record the stages of an answered request with pictures."""
        for stage, seconds in (*stages.seconds.items(), ("total", stages.total())):
            self._stage_of(route, stage).observe(seconds)


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
