"""Three values, and what became of a variant by them."""

import dataclasses

import pytest

from build_engines.judge import Accuracy, Gate, Verdict
from build_engines.results import Decision, Measured, Outcome, Published, Result, decide
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
