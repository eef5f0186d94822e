"""The simulation against what queueing theory knows exactly."""

import math
import random

import pytest

from benchmarks.simulation import Batcher, Clock, Gateway, Machine, Model, Pool, simulate

NOTHING = 1e-9
MANY = 20_000


def waiting(threads: int, work: str, load: float) -> float:
    """The mean time of a request in a pool of such threads, in units of its mean work."""
    clock, chance = Clock(), random.Random(7)  # noqa: S311
    machine = Machine(clock, threads)
    draws = {"fixed": lambda: 1.0, "exponential": lambda: chance.expovariate(1.0)}
    gateway = Gateway([(Pool(machine, threads), draws[work])], capacity=10**9)
    free = Batcher(clock, Machine(clock, 10**6), Model(NOTHING, 0, 1, instances=10**6))
    outcome = simulate(clock, [gateway], [free], rate=load * threads, requests=MANY)
    assert len(outcome.seconds) == MANY
    assert machine.used == pytest.approx(MANY, rel=0.03)
    return sum(outcome.seconds) / MANY


def erlang_c(threads: int, load: float) -> float:
    """The share of requests that wait (Erlang C)."""
    offered = threads * load
    busy = offered**threads / math.factorial(threads) / (1 - load)
    return busy / (sum(offered**n / math.factorial(n) for n in range(threads)) + busy)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_thread_and_work_at_random(load: float) -> None:
    assert waiting(1, "exponential", load) == pytest.approx(1 / (1 - load), rel=0.12)  # M/M/1


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_thread_and_equal_work(load: float) -> None:
    assert waiting(1, "fixed", load) == pytest.approx(1 + load / (2 * (1 - load)), rel=0.12)  # Pollaczek-Khinchine


@pytest.mark.parametrize("threads", [2, 4])
def test_several_threads(threads: int) -> None:
    wanted = 1 + erlang_c(threads, 0.7) / (threads * 0.3)
    assert waiting(threads, "exponential", 0.7) == pytest.approx(wanted, rel=0.12)


def test_cores_are_shared_evenly_and_no_job_is_wider_than_it_says() -> None:
    clock, ends = Clock(), dict[str, float]()
    machine = Machine(clock, 2)
    machine.run(2.0, 2.0, lambda: ends.setdefault("wide", clock.now))
    machine.run(1.0, 1.0, lambda: ends.setdefault("narrow", clock.now))
    clock.run()
    # One core each for a second; then the wide one has both for the half second that its last core-second takes.
    assert ends == {"narrow": pytest.approx(1.0), "wide": pytest.approx(1.5)}


def a_batcher(clock: Clock, model: Model) -> Batcher:
    return Batcher(clock, Machine(clock, 1), model)


def test_a_batch_is_what_waited() -> None:
    clock, ends = Clock(), list[float]()
    batcher = a_batcher(clock, Model(fixed=1.0, each=0.1, max_batch=4))
    for _ in range(6):
        clock.at(0.0, lambda: batcher.run(lambda: ends.append(clock.now)))
    clock.run()
    assert batcher.batches == [1, 4, 1]
    assert ends == pytest.approx([1.1, *[2.5] * 4, 3.6])


def test_a_batch_waits_for_more_no_longer_than_the_delay() -> None:
    clock, ends = Clock(), list[float]()
    batcher = a_batcher(clock, Model(fixed=1.0, each=0.0, max_batch=3, delay=0.5))
    for at in (0.0, 0.2, 10.0, 10.1, 10.2):
        clock.at(at, lambda: batcher.run(lambda: ends.append(clock.now)))
    clock.run()
    assert batcher.batches == [2, 3]
    assert ends == pytest.approx([1.5, 1.5, 11.2, 11.2, 11.2])


def test_batching_carries_a_load_that_single_pictures_could_not() -> None:
    rates = {}
    for most in (1, 32):
        clock = Clock()
        batcher = a_batcher(clock, Model(fixed=0.9, each=0.1, max_batch=most))
        rates[most] = simulate(clock, [Gateway([], 10**9)], [batcher], rate=4, requests=4000).percentile(99)
    assert rates[32] < 4
    assert rates[1] > 100


def test_what_is_over_the_capacity_is_refused_and_the_rest_stays_quick() -> None:
    clock = Clock()
    batcher = a_batcher(clock, Model(fixed=0.0, each=1.0, max_batch=1))
    outcome = simulate(clock, [Gateway([], capacity=5)], [batcher], rate=2, requests=4000)
    assert len(outcome.seconds) + outcome.refused == 4000
    assert outcome.refused / 4000 == pytest.approx(0.5, abs=0.03)
    assert max(outcome.seconds) <= 5 + 1e-6


def test_requests_are_shared_out_in_turn() -> None:
    clock = Clock()
    batchers = [a_batcher(clock, Model(0.0, 0.01, 1)) for _ in range(3)]
    simulate(clock, [Gateway([], 100), Gateway([], 100)], batchers, rate=10, requests=600)
    assert [len(each.batches) for each in batchers] == [200, 200, 200]


def test_the_same_seed_gives_the_same_numbers() -> None:
    def once(seed: int) -> list[float]:
        clock = Clock()
        return simulate(clock, [Gateway([], 100)], [a_batcher(clock, Model(0.1, 0.0, 4))], 5, 200, seed).seconds

    assert once(1) == once(1) != once(2)
