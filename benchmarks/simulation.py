"""Gateways and Tritons as discrete events: what a rate of pictures does to the time that 99 of 100 of them take.

A machine has cores, or is one GPU (a machine of one core), and shares them evenly among the jobs that it has (processor
sharing). A pool is threads of a machine with a queue before them: a client, an event loop, the threads that decode. A
batcher is a model of Triton's: its instances take what waits, up to a batch, as Triton's dynamic batching does.
A request goes through its pools and ends in a batcher; a gateway at its capacity refuses it. Times are in seconds, work
in core-seconds.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

Then = Callable[[], object]
_DONE = 1e-9
"""A nanosecond of work is none: over hours, a clock in floating point knows no less."""


class Clock:
    """Events in the order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Then]] = []
        self._numbers = count()

    def at(self, time: float, then: Then) -> None:
        """Do `then` at that time."""
        heapq.heappush(self._events, (time, next(self._numbers), then))

    def run(self) -> None:
        """Until nothing is left to do."""
        while self._events:
            self.now, _, then = heapq.heappop(self._events)
            then()


@dataclass(eq=False)
class _Job:
    left: float
    width: float
    then: Then
    rate: float = 0.0


class Machine:
    """So many cores, shared evenly; a job uses at most its `width` of them."""

    def __init__(self, clock: Clock, cores: float) -> None:
        self._clock, self._cores = clock, cores
        self._jobs: list[_Job] = []
        self._since = 0.0
        self._turn = 0
        self.used = 0.0
        """Core-seconds so far."""

    def run(self, work: float, width: float, then: Then) -> None:
        """Do so much work, and `then` what follows."""
        self._advance()
        self._jobs.append(_Job(work, width, then))
        self._plan()

    def _advance(self) -> None:
        passed, self._since = self._clock.now - self._since, self._clock.now
        for job in self._jobs:
            job.left -= job.rate * passed
            self.used += job.rate * passed

    def _plan(self) -> None:
        """Share the cores, and wake when the first job ends."""
        left, waiting = self._cores, len(self._jobs)
        for job in sorted(self._jobs, key=lambda each: each.width):
            job.rate = min(job.width, left / waiting)
            left, waiting = left - job.rate, waiting - 1
        self._turn += 1
        if self._jobs:
            turn = self._turn
            soonest = min(max(0.0, job.left) / job.rate for job in self._jobs)
            self._clock.at(self._clock.now + soonest, lambda: self._end(turn))

    def _end(self, turn: int) -> None:
        if turn != self._turn:
            return  # The jobs have changed since.
        self._advance()
        ended = [job for job in self._jobs if job.left <= _DONE]
        self._jobs = [job for job in self._jobs if job.left > _DONE]
        self._plan()
        for job in ended:
            job.then()


class Pool:
    """So many threads of a machine, first come, first served."""

    def __init__(self, machine: Machine, threads: int) -> None:
        self._machine, self._free = machine, threads
        self._waiting: deque[tuple[float, Then]] = deque()

    def run(self, work: float, then: Then) -> None:
        """Do so much work in a thread, and `then` what follows."""
        self._waiting.append((work, then))
        self._next()

    def _next(self) -> None:
        if self._free and self._waiting:
            self._free -= 1
            work, then = self._waiting.popleft()
            self._machine.run(work, 1.0, lambda: self._done(then))

    def _done(self, then: Then) -> None:
        self._free += 1
        then()
        self._next()


@dataclass(frozen=True)
class Model:
    """What an execution takes: `fixed + each * batch` core-seconds, on up to `width` cores."""

    fixed: float
    each: float
    max_batch: int
    instances: int = 1
    delay: float = 0.0
    """How long a batch that is not full waits for more."""
    width: float = 1.0


class Batcher:
    """A model on a Triton."""

    def __init__(self, clock: Clock, machine: Machine, model: Model) -> None:
        self._clock, self._machine, self._model = clock, machine, model
        self._free = model.instances
        self._waiting: deque[tuple[float, Then]] = deque()
        self.batches: list[int] = []

    def run(self, then: Then) -> None:
        """Put one picture into a batch, and `then` what follows."""
        self._waiting.append((self._clock.now, then))
        self._next()
        if self._model.delay:
            self._clock.at(self._clock.now + self._model.delay, self._next)

    def _next(self) -> None:
        model = self._model
        while self._free and self._waiting:
            due = self._clock.now - self._waiting[0][0] >= model.delay - 1e-12
            if not due and len(self._waiting) < model.max_batch:
                return
            size = min(len(self._waiting), model.max_batch)
            batch = [self._waiting.popleft()[1] for _ in range(size)]
            self._free -= 1
            self.batches.append(size)
            self._machine.run(model.fixed + model.each * size, model.width, lambda batch=batch: self._done(batch))  # type: ignore[misc]

    def _done(self, batch: Sequence[Then]) -> None:
        self._free += 1
        for then in batch:
            then()
        self._next()


Stage = tuple[Pool, Callable[[], float]]
"""Threads, and the work that one request is for them."""


@dataclass
class Gateway:
    """A worker process: what a request goes through, and how many pictures it works on at once."""

    stages: Sequence[Stage]
    capacity: int
    in_flight: int = 0


@dataclass
class Outcome:
    """What became of the requests."""

    seconds: list[float] = field(default_factory=list)
    """What each that was answered took."""
    refused: int = 0

    def percentile(self, percent: float) -> float:
        """Seconds below which that share of the answers stayed."""
        return float(np.percentile(self.seconds, percent))


def simulate(  # noqa: PLR0913, PLR0917 (what is there, and what comes)
    clock: Clock, gateways: Sequence[Gateway], tritons: Sequence[Batcher], rate: float, requests: int, seed: int = 1
) -> Outcome:
    """So many requests at random moments (a Poisson process of `rate` a second), in turn to gateways and Tritons."""
    chance, outcome, turn = random.Random(seed), Outcome(), count()  # noqa: S311 (a simulation)

    def arrive(left: int) -> None:
        if left > 1:
            clock.at(clock.now + chance.expovariate(rate), lambda: arrive(left - 1))
        number = next(turn)
        gateway = gateways[number % len(gateways)]
        if gateway.in_flight >= gateway.capacity:
            outcome.refused += 1
            return
        gateway.in_flight += 1
        _through(gateway, tritons[number % len(tritons)], clock, outcome)

    clock.at(0.0, lambda: arrive(requests))
    clock.run()
    return outcome


def _through(gateway: Gateway, triton: Batcher, clock: Clock, outcome: Outcome) -> None:
    """One request, from stage to stage."""
    began = clock.now

    def answered() -> None:
        gateway.in_flight -= 1
        outcome.seconds.append(clock.now - began)

    def enter(stage: int) -> None:
        if stage == len(gateway.stages):
            triton.run(answered)
        else:
            pool, work = gateway.stages[stage]
            pool.run(work(), lambda: enter(stage + 1))

    enter(0)
