"""Times of runs whose lengths are known, by a clock that only they move."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from build_engines.judge.speed import MAX_ROUNDS, MIN_ROUNDS, Course, race, time_alone
from build_engines.values import Pixels, Precision, Probabilities
from contract.config import graph_sizes

IMAGES = np.zeros((4, 2, 2, 3), np.uint8)


class Clock:
    """Stands still until somebody runs."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Runner:
    """Takes as long as `seconds` says of the batch size and of how many runs there were at it."""

    runtime = "a clock"

    def __init__(self, name: str, clock: Clock, seconds: Callable[[int, int], float], log: list[str]) -> None:
        self._name, self._clock, self._seconds, self._log = name, clock, seconds, log
        self.seen: list[Pixels] = []

    def run(self, images: Pixels) -> Probabilities:
        """See `Session.run`."""
        before = sum(len(each) == len(images) for each in self.seen)
        self._clock.now += self._seconds(len(images), before)
        self._log.append(self._name)
        self.seen.append(images)
        return np.zeros((len(images), 2), np.float32)


def runner(clock: Clock, seconds: Callable[[int, int], float], log: list[str] | None = None, name: str = "") -> Runner:
    return Runner(name, clock, seconds, [] if log is None else log)


def course(clock: Clock, *batches: int, images: Pixels = IMAGES, seconds: float = 4.0, limit: float = 1e9) -> Course:
    return Course(images, batches, seconds=seconds, limit=limit, clock=clock)


def test_latency_and_throughput_are_those_of_the_runs() -> None:
    clock = Clock()
    # The first of the 101 runs is the warm-up; the others take 1 to 100 ms.
    (timing,) = time_alone(runner(clock, lambda _, run: 0.6 if run == 0 else run / 1000), course(clock, 8, seconds=5.6))
    assert timing.batch == 8
    assert timing.runs == 100
    assert timing.p50_ms == pytest.approx(50.5)
    assert timing.p99_ms == pytest.approx(99)
    assert timing.throughput == pytest.approx(8 * 100 / 5.05)


def test_of_few_runs_the_slowest_is_the_99th_percentile() -> None:
    clock = Clock()
    (timing,) = time_alone(runner(clock, lambda _, run: [9, 2, 7, 3][run]), course(clock, 1, seconds=1))
    assert timing.runs == 3
    assert [timing.p50_ms, timing.p99_ms] == pytest.approx([3000, 7000])


def test_a_candidate_that_takes_half_the_time_is_twice_as_fast() -> None:
    clock = Clock()
    result = race(
        runner(clock, lambda batch, _: 0.01 * batch),
        runner(clock, lambda batch, _: 0.02 * batch),
        course(clock, 1, 2, 4),
        against=Precision.FP16,
        runtime="a runtime",
    )
    assert result.ratios == pytest.approx((2, 2, 2))
    assert result.speedup == pytest.approx(2)
    assert [timing.p50_ms for timing in result.candidate] == pytest.approx([10, 20, 40])
    assert [timing.p50_ms for timing in result.baseline] == pytest.approx([20, 40, 80])
    assert (result.against, result.runtime) == (Precision.FP16, "a runtime")
    assert result.wins == tuple(timing.runs for timing in result.candidate)
    assert result.rounds == sum(result.wins)


def test_the_speed_is_the_geometric_mean_over_the_batch_sizes() -> None:
    clock = Clock()
    result = race(
        runner(clock, lambda _, __: 0.1),
        runner(clock, lambda batch, _: {1: 0.05, 2: 0.8}[batch]),
        course(clock, 1, 2),
        against=Precision.FP32,
        runtime="",
    )
    assert result.ratios == pytest.approx((0.5, 8))
    assert result.speedup == pytest.approx(2)
    assert result.wins[0] == 0


def test_a_batch_size_that_is_named_more_often_counts_more() -> None:
    clock = Clock()
    result = race(
        runner(clock, lambda _, __: 0.1),
        runner(clock, lambda batch, _: {1: 0.1, 2: 0.8}[batch]),
        course(clock, 2, 1, 2),
        against=Precision.FP32,
        runtime="",
    )
    assert [timing.batch for timing in result.candidate] == [1, 2]
    assert result.weights == (1, 2)
    assert result.speedup == pytest.approx(4)


def test_a_machine_that_grows_slower_does_not_change_who_is_faster() -> None:
    """One after the other, the second of two equal runners would look slower."""
    clock = Clock()

    def slower(_: int, __: int) -> float:
        return 0.01 * math.exp((clock.now - 100) / 20)

    result = race(
        runner(clock, slower), runner(clock, slower), course(clock, 1, seconds=60), against=Precision.FP32, runtime=""
    )
    assert result.candidate[0].p99_ms > 1.3 * result.candidate[0].p50_ms
    assert result.speedup == pytest.approx(1, abs=0.01)


def test_they_run_in_turn_and_take_turns_to_go_first() -> None:
    clock, log = Clock(), list[str]()
    race(
        runner(clock, lambda _, __: 5.0, log, "c"),
        runner(clock, lambda _, __: 5.0, log, "b"),
        course(clock, 1),
        against=Precision.FP32,
        runtime="",
    )
    assert "".join(log) == "cb" + "cb" + "bc" + "cb"


def test_the_first_run_at_each_size_does_not_count() -> None:
    clock = Clock()
    timings = time_alone(runner(clock, lambda _, run: 1.0 if run == 0 else 0.1), course(clock, 1, 2, 4))
    assert [timing.p99_ms for timing in timings] == pytest.approx([100, 100, 100])


def test_runs_of_a_second_and_more_are_not_warmed_up_again() -> None:
    clock = Clock()
    own = runner(clock, lambda batch, _: 0.6 * batch)
    time_alone(own, course(clock, 1, 2, 4, seconds=0.1))
    assert [len(each) for each in own.seen] == [1] * 4 + [2] * 3 + [4] * 3


def test_quick_runs_warm_up_for_a_while() -> None:
    clock = Clock()
    (timing,) = time_alone(runner(clock, lambda _, run: 0.1 if run < 3 else 0.001), course(clock, 1))
    assert timing.p99_ms == pytest.approx(1)


@pytest.mark.parametrize(("each", "runs"), [(0.0001, MAX_ROUNDS), (0.1, 36), (3.0, MIN_ROUNDS)])
def test_the_time_decides_how_often(each: float, runs: int) -> None:
    clock = Clock()
    (timing,) = time_alone(runner(clock, lambda _, __: each), course(clock, 1, seconds=3.9999))
    assert timing.runs == runs


def test_two_large_models_on_a_small_machine_end_in_time() -> None:
    """ViT-B/16 on two busy cores: 8 s for a batch of 32 at FP32, 6 s at INT8."""
    clock = Clock()
    fast, slow = (
        runner(clock, lambda batch, _: 6 / 32 * batch),
        runner(clock, lambda batch, _: 8 / 32 * batch),
    )
    result = race(fast, slow, Course(IMAGES, graph_sizes(32), clock=clock), against=Precision.FP32, runtime="")
    assert [timing.batch for timing in result.candidate] == [1, 2, 4, 8, 16, 32]
    assert result.candidate[-1].runs == 3
    assert clock.now - 100 <= 90


def test_batches_that_would_take_too_long_are_left_out_but_never_the_smallest() -> None:
    clock = Clock()
    large = runner(clock, lambda batch, _: 2.0 * batch)
    timings = time_alone(large, course(clock, 8, 4, 2, 1, limit=60))
    assert [timing.batch for timing in timings] == [1, 2, 4]
    assert clock.now - 100 <= 60
    assert [timing.batch for timing in time_alone(large, course(clock, 1, 2, limit=1))] == [1]


def test_pictures_are_repeated_where_there_are_too_few() -> None:
    clock = Clock()
    images = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3)
    own = runner(clock, lambda _, __: 5.0)
    time_alone(own, course(clock, 8, images=images))
    assert np.array_equal(own.seen[0], images[[0, 1, 2, 0, 1, 2, 0, 1]])
