"""Three values, and what became of a variant by them."""

import dataclasses

import pytest

from build_engines.judge import Accuracy, Gate, Race, Verdict
from build_engines.results import Decision, Measured, Outcome, Published, Result, best, decide
from build_engines.values import Compiler, Precision

VARIANT = Result("pets", Precision.INT8, Compiler.NONE)
MEASURED = Measured("ONNX Runtime", graph_size=1, accuracy=Accuracy(1000, 0.9, 0.1, 0.01))
REFUSED = Verdict(passed=False, failures=("it is slow", "it is wrong"), notes=())


def test_the_decision_follows_from_what_was_measured_and_the_gate() -> None:
    strict, lenient = decide(MEASURED, Gate(), force=False), decide(MEASURED, Gate(min_agreement=0.5), force=True)
    assert (strict.passed, strict.publish, strict.forced) == (False, False, False)
    assert (lenient.passed, lenient.publish, lenient.forced) == (True, True, False)
    forced = decide(MEASURED, Gate(), force=True)
    assert (forced.passed, forced.publish, forced.forced) == (False, True, True)


def test_without_pictures_nothing_is_judged() -> None:
    assert decide(dataclasses.replace(MEASURED, accuracy=None), Gate(), force=True) == Decision(None)


@pytest.mark.parametrize(
    ("decision", "published", "outcome"),
    [
        (None, None, Outcome.FAILED),
        (Decision(REFUSED), None, Outcome.REFUSED),
        (Decision(REFUSED, forced=True), None, Outcome.PASSED),
        (Decision(None), None, Outcome.PASSED),
        (Decision(None), Published(3), Outcome.PUBLISHED),
        (Decision(None), Published(3, unchanged=True), Outcome.UNCHANGED),
    ],
)
def test_what_became_of_it(decision: Decision | None, published: Published | None, outcome: Outcome) -> None:
    assert dataclasses.replace(VARIANT, decision=decision, published=published).outcome is outcome


def test_the_reason_is_the_failure_or_what_the_gate_says() -> None:
    assert dataclasses.replace(VARIANT, failure="NaN").reason == "NaN"
    assert dataclasses.replace(VARIANT, decision=Decision(REFUSED)).reason == "it is slow; it is wrong"
    assert VARIANT.reason == ""


def candidate(ratio: float, decision: Decision | None, *, attention: bool) -> tuple[str, Result]:
    race = Race(Precision.FP16, "a GPU", (), (), (ratio,), (1,), (1,))
    measured = dataclasses.replace(MEASURED, race=race) if decision else None
    failure = "" if decision else "it overflows"
    result = dataclasses.replace(VARIANT, measured=measured, decision=decision, failure=failure, attention=attention)
    return ("attention" if attention else "plain"), result


PASSES, FAILS = Decision(None), Decision(REFUSED)


@pytest.mark.parametrize(
    ("plain", "attention", "chosen", "other"),
    [
        (
            (1.2, PASSES),
            (1.3, PASSES),
            "attention",
            "with attention in FP16, 1.20 times as fast as FP16, it passes the gate",
        ),
        (
            (1.3, PASSES),
            (1.2, PASSES),
            "plain",
            "with attention in INT8, 1.20 times as fast as FP16, it passes the gate",
        ),
        (
            (1.2, PASSES),
            (1.2, PASSES),
            "plain",
            "with attention in INT8, 1.20 times as fast as FP16, it passes the gate",
        ),
        (
            (1.1, PASSES),
            (1.9, FAILS),
            "plain",
            "with attention in INT8, 1.90 times as fast as FP16, it is slow; it is wrong",
        ),
        (
            (1.9, FAILS),
            (1.1, PASSES),
            "attention",
            "with attention in FP16, 1.90 times as fast as FP16, it is slow; it is wrong",
        ),
        (
            (0.9, FAILS),
            (1.9, FAILS),
            "plain",
            "with attention in INT8, 1.90 times as fast as FP16, it is slow; it is wrong",
        ),
        ((0.9, FAILS), (0.0, None), "plain", "with attention in INT8, it overflows"),
        ((0.0, None), (0.9, FAILS), "attention", "with attention in FP16, it overflows"),
        ((0.0, None), (0.0, None), "plain", "with attention in INT8, it overflows"),
    ],
)
def test_of_two_candidates_the_faster_that_passes_is_chosen(
    plain: tuple[float, Decision | None], attention: tuple[float, Decision | None], chosen: str, other: str
) -> None:
    made, result = best([candidate(*plain, attention=False), candidate(*attention, attention=True)])
    assert (made, result.others) == (chosen, (other,))
    assert result.attention == (chosen == "attention")


def test_a_candidate_without_others_says_nothing_of_them() -> None:
    assert best([("", VARIANT)]) == ("", VARIANT)
