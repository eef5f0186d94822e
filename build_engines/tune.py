"""Which scheduling of an entry is best on this machine: measured in a running Triton, under load and alone.

One choice after the other: instances, then the largest batch, then the window in which a batch gathers. A choice is
taken where it is better at load or alone beyond the noise, and no worse at the other.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from build_engines.errors import PlanError
from build_engines.pictures import made_pictures
from build_engines.repository import Limits, RunningTriton, Tunable, Tuned, load, retune, trial, tunable
from contract.config import Runtime
from contract.cpus import available_cpus

NOISE = 0.05
"""By how much two measurements of the same differ, on a machine that others use too."""
_WINDOWS_US = (0, 1_000, 2_000, 5_000, 10_000)
_BATCHES = (4, 8, 16)
_WARM = 1 / 8
"""Of the time that load lasts: the first requests are not like the others."""


@dataclass(frozen=True)
class Measurement:
    """One scheduling, as it was measured."""

    tuned: Tuned
    alone_ms: float
    """Median latency of one picture at a time."""
    rate: float
    """Pictures a second at load."""
    p99_ms: float
    """At load."""

    def better_than(self, other: "Measurement", noise: float = NOISE) -> bool:
        """Whether it is better at load or alone beyond the noise, and at neither worse, nor in its p99 at load."""
        rate, alone, late = self.rate / other.rate, other.alone_ms / self.alone_ms, other.p99_ms / self.p99_ms
        return max(rate, alone) > 1 + noise and min(rate, alone) > 1 - noise and late > 1 - 4 * noise


@dataclass(frozen=True)
class Tuning:
    """What was measured of one entry, in order, and what is best. The first and the last but one are as it was."""

    found: Tunable
    measured: tuple[Measurement, ...]
    best: Tuned


@dataclass(frozen=True)
class Load:
    """What each scheduling is measured by.

    Raises:
        PlanError: it is none.
    """

    connections: int = 32
    seconds: float = 4.0

    def __post_init__(self) -> None:
        if self.connections < 1 or not 0 < self.seconds < float("inf"):
            raise PlanError("--connections is 1 or more, and --seconds above 0")


def tune(
    repository: Path, name: str, url: str, load_of: Load, tell: Callable[[Measurement], None] = lambda _: None
) -> Tuning:
    """Measure an entry in the Triton at `url`, which reads `repository`. Changes nothing that lasts.

    Raises:
        RepositoryError: there is no such entry, or Triton does not load it.
    """
    found = tunable(repository, name)
    images = made_pictures(load_of.connections, found.entry.preprocessing)
    measured: list[Measurement] = []
    with RunningTriton(url, Limits()) as triton:

        def measure(tuned: Tuned) -> Measurement:
            with trial(triton, found, tuned) as (passing, config):

                def ask(place: int) -> object:
                    return triton.infer(passing, found.version, config, images[place : place + 1])

                warm = load_of.seconds * _WARM
                _latencies(ask, 1, warm)
                alone = _latencies(ask, 1, load_of.seconds / 2)
                _latencies(ask, load_of.connections, warm)
                began = time.perf_counter()
                loaded = _latencies(ask, load_of.connections, load_of.seconds)
                passed = time.perf_counter() - began
            done = Measurement(tuned, float(np.median(alone)), len(loaded) / passed, float(np.percentile(loaded, 99)))
            measured.append(done)
            tell(done)
            return done

        best = first = measure(found.now)
        for choices in (_instances(found), _batches(found), _windows(found)):
            for tuned in choices(best.tuned):
                if (tried := measure(tuned)).better_than(best):
                    best = tried
        if best is not first:
            # Side by side once more: what seemed better may have been a quiet moment.
            again = measure(found.now)
            if not measure(best.tuned).better_than(again):
                best = first
    return Tuning(found, tuple(measured), best.tuned)


def keep(repository: Path, tuning: Tuning, url: str) -> str:
    """Make what is best the entry's own, and let the Triton at `url` follow. Gives the note in its provenance.

    Raises:
        RepositoryError: it cannot be written, or Triton does not load it.
    """
    best = next(each for each in reversed(tuning.measured) if each.tuned == tuning.best)
    processor = platform.processor() or platform.machine()
    note = (
        f"{best.alone_ms:.1f} ms alone, {best.rate:.1f}/s and p99 {best.p99_ms:.0f} ms at load, on "
        f"{available_cpus()} CPUs of {os.uname().nodename} ({processor})"
    )
    retune(repository, tuning.found, tuning.best, note)
    load(url, tuning.found.folder, tuning.found.version)
    return note


Choices = Callable[[Tuned], Iterable[Tuned]]


def _instances(found: Tunable) -> Choices:
    cpus = available_cpus()
    counts = {1, 2} if found.runtime is Runtime.TENSORRT else {count for count in (1, 2, cpus) if count <= cpus}
    return lambda best: _others(best, sorted(counts), "instances")


def _windows(_: Tunable) -> Choices:
    return lambda best: _others(best, _WINDOWS_US, "max_queue_delay_us")


def _others(best: Tuned, values: Sequence[int], field: str) -> list[Tuned]:
    """`best` with each other value of one field of its scheduling."""
    found = [replace(best.scheduling, **{field: value}) for value in values]
    return [replace(best, scheduling=each) for each in found if each != best.scheduling]


def _batches(found: Tunable) -> Choices:
    largest = found.entry.max_batch_size
    return lambda best: [replace(best, max_batch_size=size) for size in _BATCHES if size < largest]


def _latencies(ask: Callable[[int], object], connections: int, seconds: float) -> list[float]:
    """Milliseconds of each answer; every connection asks again as soon as it was answered."""
    end = time.perf_counter() + seconds

    def asks(place: int) -> list[float]:
        found = []
        while (begun := time.perf_counter()) < end:
            ask(place)
            found.append((time.perf_counter() - begun) * 1000)
        return found

    with ThreadPoolExecutor(connections) as pool:
        return [each for found in pool.map(asks, range(connections)) for each in found]
