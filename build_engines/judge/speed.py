"""Latency and throughput of a variant, and of what it must beat, measured in turn because machines are shared.

Knows no runtime: what runs is handed in, and so is the clock. A session on a device reads a clock of its own, between
events around what Triton would do; its copies are reported apart.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from build_engines.values import DeviceSession, Pixels, Precision, Session, Spent

MIN_ROUNDS = 3
MAX_ROUNDS = 300
"""What a 99th percentile is read from, with some to spare."""
_WARM_UP = 0.1
"""Share of the seconds, at least one run each."""
_SLOW = 1.0
"""Seconds of a run beyond which there is no warm-up: its first time costs little more, and a median of three rounds
leaves that out."""

Clock = Callable[[], float]
"""Gives seconds from any start."""


@dataclass(frozen=True)
class Course:
    """What runners are timed over."""

    images: Pixels
    """Batches are taken from these, again and again where they are fewer."""
    batches: tuple[int, ...]
    """In any order; one that is there twice counts twice in the speed."""
    seconds: float = 4.0
    """For each batch size; more where `MIN_ROUNDS` take longer."""
    limit: float = 100.0
    """Seconds for all of them: batch sizes that would take longer are left out, the smallest never. Two ViT-B/16 that
    take 8 s and 6 s for a batch of 32 stay below it."""
    clock: Clock = time.perf_counter


@dataclass(frozen=True)
class Timing:
    """How fast something ran at one batch size."""

    batch: int
    p50_ms: float
    """Milliseconds of a run: half of the runs took at most this."""
    p99_ms: float
    """Milliseconds: 99 % of the runs took at most this; the slowest run where there were fewer than 100."""
    throughput: float
    """Pictures per second, over all runs."""
    runs: int
    copies_ms: float | None = None
    """Milliseconds, the median: to the device and back, which the other numbers leave out. None on a CPU."""


@dataclass(frozen=True)
class Race:
    """A variant and its baseline at the same batch sizes, measured in turn."""

    against: Precision
    """The baseline: the next higher precision on the same runtime."""
    runtime: str
    """What ran both, in words."""
    candidate: tuple[Timing, ...]
    baseline: tuple[Timing, ...]
    ratios: tuple[float, ...]
    """For each batch size the baseline's time over the candidate's: the median over the rounds."""
    wins: tuple[int, ...]
    """For each batch size the rounds in which the candidate took less time."""
    weights: tuple[int, ...]
    """How often each batch size counts."""

    @property
    def speedup(self) -> float:
        """The geometric mean of `ratios` by `weights`: 2 where the candidate takes half the time."""
        return math.exp(statistics.fmean(map(math.log, self.ratios), self.weights))

    @property
    def rounds(self) -> int:
        """Over all batch sizes."""
        return sum(timing.runs for timing in self.candidate)


def race(candidate: Session, baseline: Session, course: Course, *, against: Precision, runtime: str) -> Race:
    """Time both over `course`, in rounds of one run each; who goes first alternates."""
    candidates, baselines, ratios, wins = [], [], [], []
    for batch, runs in _measured((candidate, baseline), course):
        ours, theirs = ([spent.compute for spent in own] for own in runs)
        candidates.append(_timing(batch, runs[0]))
        baselines.append(_timing(batch, runs[1]))
        ratios.append(statistics.median(other / own for own, other in zip(ours, theirs, strict=True)))
        wins.append(sum(own < other for own, other in zip(ours, theirs, strict=True)))
    weights = tuple(course.batches.count(timing.batch) for timing in candidates)
    return Race(against, runtime, tuple(candidates), tuple(baselines), tuple(ratios), tuple(wins), weights)


def time_alone(run: Session, course: Course) -> tuple[Timing, ...]:
    """Time `run` over `course`, where there is nothing to compare it with."""
    return tuple(_timing(batch, own) for batch, (own,) in _measured((run,), course))


def _measured(runs: Sequence[Session], course: Course) -> Iterator[tuple[int, list[list[Spent]]]]:
    """Each batch size with what each run took of each of `runs`, until the next would go beyond the limit."""
    end = course.clock() + course.limit
    per_picture = 0.0
    for batch in sorted(set(course.batches)):
        expected = batch * per_picture
        if course.clock() + MIN_ROUNDS * expected > end:
            return
        times = _rounds(runs, course, batch, warm_up=expected < _SLOW * len(runs))
        per_picture = sum(statistics.median(spent.compute for spent in own) for own in times) / batch
        yield batch, times


def _rounds(runs: Sequence[Session], course: Course, batch: int, *, warm_up: bool) -> list[list[Spent]]:
    """What each run took of each of `runs`, one in each round."""
    images, seconds, clock = course.images[np.arange(batch) % len(course.images)], course.seconds, course.clock
    start = clock()
    # The first run at a size pays for memory, and for plans that runtimes make for each size.
    while warm_up:
        for run in runs:
            run.run(images)
        warm_up = clock() - start < _WARM_UP * seconds
    times: list[list[Spent]] = [[] for _ in runs]
    while len(times[0]) < MIN_ROUNDS or (len(times[0]) < MAX_ROUNDS and clock() - start < seconds):
        order = list(zip(runs, times, strict=True))
        for run, own in order if len(times[0]) % 2 == 0 else reversed(order):
            own.append(_spent(run, images, clock))
    return times


def _spent(run: Session, images: Pixels, clock: Clock) -> Spent:
    if isinstance(run, DeviceSession):
        return run.time(images)
    before = clock()
    run.run(images)
    return Spent(clock() - before, 0.0)


def _timing(batch: int, runs: Sequence[Spent]) -> Timing:
    seconds = [spent.compute for spent in runs]
    copies = 1000 * statistics.median(spent.copies for spent in runs)
    return Timing(
        batch=batch,
        p50_ms=1000 * statistics.median(seconds),
        p99_ms=1000 * float(np.percentile(seconds, 99, method="inverted_cdf")),
        throughput=batch * len(seconds) / sum(seconds),
        runs=len(seconds),
        copies_ms=copies or None,
    )
