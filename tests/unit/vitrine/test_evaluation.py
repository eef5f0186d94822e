"""The figures of an evaluation, against ones worked out by hand or by their source."""

import math

import pytest

from vitrine.answers import Classification, Prediction
from vitrine.evaluation import BINS, Share, evaluate
from vitrine.records import Failure, Record


def record(*ranked: tuple[str, float]) -> Record:
    predictions = tuple(Prediction(label, 0, score) for label, score in ranked)
    return Record("x", Classification("m", "1", predictions))


def test_the_interval_is_wilsons() -> None:
    """The bounds for 81 of 263, from Newcombe (1998), table I, method 3."""
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Share(0, 20).interval == pytest.approx((0, 0.1611), abs=5e-5)
    assert Share(5, 5).interval[1] == pytest.approx(1)
    assert math.isnan(Share(0, 0).interval[0])


def test_calibration_is_the_mean_gap() -> None:
    """Two bins: 3 pictures at 0.9 of which 2 are right, one at 0.5 that is right."""
    pictures = [
        ("a", record(("a", 0.9))),
        ("a", record(("a", 0.9))),
        ("b", record(("a", 0.9))),
        ("a", record(("a", 0.5))),
    ]
    found = evaluate(pictures)
    assert found.calibration_error == pytest.approx((3 * abs(0.9 - 2 / 3) + abs(0.5 - 1)) / 4)
    assert sum(each.pictures for each in found.bins) == 4
    assert len(found.bins) == BINS


def test_a_bin_holds_its_upper_end() -> None:
    found = evaluate([("a", record(("a", 1.0))), ("a", record(("a", 1 / BINS))), ("a", record(("a", 0.0)))])
    assert [each.pictures for each in found.bins] == [2, *[0] * (BINS - 2), 1]


def test_top_five_and_what_failed() -> None:
    near = record(*((label, 0.2) for label in "bcdea"))
    far = record(*((label, 0.1) for label in "bcdefa"))
    found = evaluate([("a", near), ("a", far), ("a", Record("x", Failure("image_corrupt", "d", 422, True)))])
    assert (found.top1, found.top5) == (Share(0, 3), Share(1, 3))
    assert found.failed == {"image_corrupt": 1}
    assert [(each.taken_for, each.share) for each in found.confusions(9)] == [("b", Share(2, 2))]


def test_nothing_answered_is_no_figure() -> None:
    found = evaluate([("a", Record("x", Failure("no_answer", "d")))])
    assert math.isnan(found.calibration_error)
    assert found.top1 == Share(0, 1)
