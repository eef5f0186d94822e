"""What the answers are worth, counted by hand and by another method."""

import numpy as np
import numpy.typing as npt
import pytest

from build_engines.errors import InvalidOutputError
from build_engines.judge.accuracy import compare

Rows = npt.NDArray[np.float32]


def rows(*values: tuple[float, ...]) -> Rows:
    return np.array(values, dtype=np.float32)


def sure(classes: list[int], of: int = 10, share: float = 0.91) -> Rows:
    """Answers that give `share` to each of `classes` and the rest evenly to the others."""
    answers = np.full((len(classes), of), (1 - share) / (of - 1), dtype=np.float32)
    answers[np.arange(len(classes)), classes] = share
    return answers


def by_chance(pictures: int, of: int, seed: int) -> Rows:
    """Answers in coarse steps, so that many are equal."""
    levels = np.random.default_rng(seed).integers(1, 4, (pictures, of)).astype(np.float32)
    probabilities: Rows = levels / levels.sum(axis=1, keepdims=True)
    return probabilities


def test_equal_answers_agree() -> None:
    accuracy = compare(sure([1, 2, 3]), sure([1, 2, 3]), None)
    assert (accuracy.pictures, accuracy.agreement) == (3, 1.0)
    assert (accuracy.max_abs_diff, accuracy.mean_abs_diff) == (0.0, 0.0)
    assert accuracy.labelled is None
    assert accuracy.top1_drop is None


def test_differences_are_of_probabilities() -> None:
    accuracy = compare(rows((0.7, 0.3), (0.4, 0.6)), rows((0.6, 0.4), (0.55, 0.45)), None)
    assert accuracy.agreement == 0.5
    assert accuracy.max_abs_diff == pytest.approx(0.15)
    assert accuracy.mean_abs_diff == pytest.approx(0.125)


def test_labels_say_what_was_lost_and_gained() -> None:
    targets = np.array([0, 0, 0, 1, 2])
    labelled = compare(sure([0, 0, 0, 5, 6]), sure([0, 0, 7, 1, 6]), targets).labelled
    assert labelled is not None
    assert (labelled.reference_top1, labelled.top1) == (0.6, 0.6)
    assert (labelled.lost, labelled.gained) == (1, 1)
    assert labelled.commonest == 0.6


def test_a_drop_of_one_point_is_exactly_one() -> None:
    """85.1 - 84.1 is more than 1 in floating point."""
    targets = np.zeros(1000, dtype=np.int64)
    reference = sure([0] * 851 + [1] * 149)
    assert compare(reference, sure([0] * 841 + [1] * 159), targets).top1_drop == 1.0
    assert compare(reference, sure([0] * 861 + [1] * 139), targets).top1_drop == -1.0


@pytest.mark.parametrize("classes", [6, 10, 300])
def test_top_1_and_top_5_are_those_that_are_served(classes: int) -> None:
    reference, answers = by_chance(400, classes, 1), by_chance(400, classes, 2)
    targets = np.random.default_rng(3).integers(0, classes, 400)
    labelled = compare(reference, answers, targets).labelled
    assert labelled is not None
    for got, side in (
        ((labelled.top1, labelled.top5), answers),
        ((labelled.reference_top1, labelled.reference_top5), reference),
    ):
        order = np.argsort(-side, axis=1, kind="stable")  # as service.pipeline.best
        assert got == ((order[:, 0] == targets).mean(), (order[:, :5] == targets[:, None]).any(axis=1).mean())


@pytest.mark.parametrize("classes", [2, 5])
def test_top_5_of_five_classes_says_nothing(classes: int) -> None:
    answers = by_chance(20, classes, 1)
    labelled = compare(answers, answers, np.zeros(20, dtype=np.int64)).labelled
    assert labelled is not None
    assert (labelled.top5, labelled.reference_top5) == (None, None)


def test_a_variant_that_always_answers_the_same_gains_nothing_from_ties() -> None:
    even = np.full((10, 10), 0.1, dtype=np.float32)
    accuracy = compare(sure(list(range(10))), even, np.arange(10))
    assert accuracy.agreement == 0.1
    assert accuracy.labelled is not None
    assert (accuracy.labelled.top1, accuracy.labelled.top5) == (0.1, 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_left_its_range_is_refused_and_counted(value: float) -> None:
    answers = sure([1, 2, 3, 4])
    answers[1, 0] = answers[1, 5] = answers[3, 3] = value
    with pytest.raises(InvalidOutputError, match="the variant answers NaN or infinity on 2 of 4 pictures"):
        compare(sure([1, 2, 3, 4]), answers, None)


@pytest.mark.parametrize("broken", [(0.5, 0.3, 0.1), (1.4, -0.5, 0.1), (0.0, 0.0, 0.0)])
def test_what_is_no_probability_is_refused_and_counted(broken: tuple[float, ...]) -> None:
    good = (0.5, 0.3, 0.2)
    with pytest.raises(InvalidOutputError, match="the variant answers 1 of 2 pictures with numbers that are no prob"):
        compare(rows(good, good), rows(good, broken), None)


def test_a_broken_reference_is_named() -> None:
    with pytest.raises(InvalidOutputError, match="the FP32 model answers NaN"):
        compare(rows((np.nan, 0.5)), rows((0.5, 0.5)), None)


def test_a_softmax_in_fp16_is_near_enough() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (50, 1000))
    exact = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    rounded = exact.astype(np.float16).astype(np.float32)
    assert compare(exact, rounded, None).max_abs_diff > 0


def test_other_pictures_or_classes_are_refused() -> None:
    with pytest.raises(InvalidOutputError, match=r"FP32 model answers with .* \[1, 10\], the variant \[2, 10\]"):
        compare(sure([1]), sure([1, 2]), None)
