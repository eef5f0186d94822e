"""The gate: what passes, what does not, and the sentences that say so."""

import dataclasses
import math

import numpy as np
import pytest

from build_engines.judge.accuracy import Accuracy, Labelled
from build_engines.judge.gate import Gate, drop_interval, judge, share_interval
from build_engines.judge.speed import Race, Timing
from build_engines.values import Precision


def labelled(lost: int, gained: int, right: int = 8510, pictures: int = 10_000, commonest: float = 0.1) -> Accuracy:
    return Accuracy(
        pictures=pictures,
        agreement=0.5,
        max_abs_diff=0.1,
        mean_abs_diff=0.01,
        labelled=Labelled(
            top1=(right - lost + gained) / pictures,
            top5=None,
            reference_top1=right / pictures,
            reference_top5=None,
            lost=lost,
            gained=gained,
            commonest=commonest,
        ),
    )


def unlabelled(agreement: float, pictures: int = 10_000) -> Accuracy:
    return Accuracy(pictures, agreement, 0.1, 0.01)


def raced(*ratios: float, wins: int = 10, rounds: int = 10) -> Race:
    timings = tuple(Timing(2**index, 1.0, 1.0, 1000.0, rounds) for index in range(len(ratios)))
    return Race(Precision.FP16, "a runtime", timings, timings, ratios, tuple(wins for _ in ratios), (1,) * len(ratios))


FAST = raced(1.5, 2.0)


def test_what_keeps_to_all_limits_passes_without_a_word() -> None:
    verdict = judge(labelled(40, 20), FAST, Gate())
    assert verdict.passed
    assert (verdict.failures, verdict.notes) == ((), ())


def test_a_variant_that_loses_too_much_fails() -> None:
    verdict = judge(labelled(300, 69), FAST, Gate())
    assert not verdict.passed
    assert verdict.failures == ("top-1 fell by 2.31 points (85.10 % to 82.79 %), at most 1.00 is allowed",)


def test_a_drop_of_just_the_limit_passes() -> None:
    assert judge(labelled(851, 751), FAST, Gate()).passed
    assert not judge(labelled(852, 751), FAST, Gate()).passed


def test_a_number_is_shown_with_as_many_decimals_as_tell_it_from_its_limit() -> None:
    verdict = judge(labelled(501, 0, right=40_000, pictures=50_000), FAST, Gate(max_top1_drop=1.0))
    assert verdict.failures[0].startswith("top-1 fell by 1.002 points (80.00 % to 79.00 %), at most 1.000")
    assert judge(unlabelled(1), raced(0.9996), Gate()).failures == (
        "it is 0.9996 times as fast as FP16 (a runtime), more than 1.0000 times is demanded",
    )


@pytest.mark.parametrize(("agreement", "passed"), [(0.98, True), (0.9799, False)])
def test_without_labels_agreement_is_judged(agreement: float, passed: bool) -> None:
    verdict = judge(unlabelled(agreement), FAST, Gate())
    assert verdict.passed is passed
    if not passed:
        assert verdict.failures == ("top-1 is FP32's on 97.99 % of the pictures, at least 98.00 % is demanded",)


@pytest.mark.parametrize(("right", "commonest"), [(1000, 0.1), (10, 0.001), (9600, 0.95)])
def test_labels_that_fp32_knows_nothing_of_leave_it_to_agreement(right: int, commonest: float) -> None:
    """Otherwise an untrained model passes whatever becomes of it: it cannot get worse."""
    accuracy = labelled(0, 0, right=right, commonest=commonest)
    verdict = judge(accuracy, FAST, Gate())
    assert verdict.failures == ("top-1 is FP32's on 50.00 % of the pictures, at least 98.00 % is demanded",)
    assert any("the labels could not tell" in note for note in verdict.notes)
    assert judge(dataclasses.replace(accuracy, agreement=0.99), FAST, Gate()).passed


@pytest.mark.parametrize(("ratio", "passed"), [(1.001, True), (1.0, False), (0.5, False)])
def test_a_variant_must_be_faster(ratio: float, passed: bool) -> None:
    assert judge(labelled(0, 0), raced(ratio, ratio), Gate()).passed is passed


def test_a_slow_variant_is_told_its_speed() -> None:
    assert judge(labelled(0, 0), raced(0.5, 1.28), Gate()).failures == (
        "it is 0.80 times as fast as FP16 (a runtime), more than 1.00 times is demanded",
    )


def test_all_failures_are_told_at_once() -> None:
    assert len(judge(labelled(500, 0), raced(0.5), Gate()).failures) == 2


def test_what_was_not_raced_passes_with_the_reason_noted() -> None:
    verdict = judge(labelled(0, 0), None, Gate(), no_race="there is no GPU")
    assert verdict.passed
    assert verdict.notes == ("speed was not judged: there is no GPU",)
    assert judge(labelled(0, 0), None, Gate()).notes == ("speed was not judged",)


def test_what_is_no_number_never_passes() -> None:
    assert len(judge(unlabelled(math.nan), raced(math.nan), Gate()).failures) == 2


@pytest.mark.parametrize(("pictures", "noted"), [(500, True), (50_000, False)])
def test_too_few_pictures_to_be_sure_are_noted(pictures: int, noted: bool) -> None:
    lost, gained = pictures // 100, pictures // 200
    by_label = judge(labelled(lost, gained, pictures * 8 // 10, pictures), FAST, Gate())
    assert by_label.passed
    assert any("500 pictures are too few to be sure of the drop" in note for note in by_label.notes) is noted
    by_agreement = judge(unlabelled(0.985, pictures), FAST, Gate())
    assert by_agreement.passed
    assert any("500 pictures are too few to be sure of the agree" in note for note in by_agreement.notes) is noted


@pytest.mark.parametrize(("wins", "noted"), [(10, False), (59, True), (50, True), (41, True), (40, False), (60, False)])
def test_a_race_that_chance_could_decide_is_noted(wins: int, noted: bool) -> None:
    rounds = 10 if wins == 10 else 100
    verdict = judge(labelled(0, 0), raced(1.01, wins=wins, rounds=rounds), Gate())
    assert any(f"in {wins} of {rounds} pairs of runs, which chance alone may do" in each for each in verdict.notes) is (
        noted
    )


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert share_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert share_interval(1.0, 100) == pytest.approx((0.9630, 1.0), abs=1e-4)


def test_the_interval_of_a_drop_has_a_width_where_nothing_changed() -> None:
    assert drop_interval(0, 0, 98) == pytest.approx((-1.96, 1.96))


@pytest.mark.parametrize(("lost", "gained"), [(0.03, 0.02), (0.004, 0.001), (0.1, 0.1)])
def test_the_interval_of_a_drop_holds_the_truth_19_times_in_20(lost: float, gained: float) -> None:
    counts = np.random.default_rng(0).multinomial(1000, (lost, gained, 1 - lost - gained), size=2000)
    held = 0
    for one, other, _ in counts.tolist():
        low, high = drop_interval(one, other, 1000)
        held += low <= 100 * (lost - gained) <= high
    assert 0.93 <= held / len(counts) <= 0.985
