"""Which precisions are built in which order, and the candidate of each that the gate prefers. Publishes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from build_engines.errors import CompileError, InvalidOutputError, PrecisionError
from build_engines.judge import GATE
from build_engines.plan import Plan
from build_engines.publish import inputs_of
from build_engines.repository import newest_inputs
from build_engines.results import Published, Result, best, decide
from build_engines.steps import Steps, Variant
from build_engines.values import Precision

_ITS_OWN = (PrecisionError, CompileError, InvalidOutputError)
"""What may happen to one variant and leave the others whole."""


def in_order(plan: Plan, results: Mapping[Precision, Result]) -> Iterator[tuple[Precision, Precision | None]]:
    """The precisions, the highest first, each with the next higher one that passed, which it must beat.

    FP32 counts as passed in any case: the others are made from it.
    """
    for precision in (each for each in Precision if each in plan.precisions):
        passed = [each for each in results if (decision := results[each].decision) and decision.passed]
        yield precision, next((each for each in precision.higher if each in (Precision.FP32, *passed)), None)


def is_made(steps: Steps, precision: Precision, baseline: Precision | None) -> bool:
    """Whether nothing of a precision is left to make."""
    return steps.model.done and all(
        steps.variant(precision, baseline, attention=attention).measuring.done
        for attention in steps.attentions(precision)
    )


def chosen(steps: Steps, precision: Precision, baseline: Precision | None) -> tuple[Variant, Result]:
    """The candidate of a precision that the gate lets pass; of two, the faster."""
    candidates = []
    for attention in steps.attentions(precision):
        variant = steps.variant(precision, baseline, attention=attention)
        candidates.append((variant, _result(steps, variant, precision, attention=attention)))
    return best(candidates)


def _result(steps: Steps, variant: Variant, precision: Precision, *, attention: bool) -> Result:
    """What was measured and decided, and the version where it was published before from the same inputs."""
    plan = steps.plan
    result = Result(plan.entry_name(precision), precision, plan.compiler, attention=attention)
    try:
        measured = variant.measured
    except _ITS_OWN as error:
        # The others are made from FP32: without it there is nothing to go on with.
        if precision is Precision.FP32:
            raise
        return replace(result, failure=str(error), seconds=_seconds(steps, precision))
    decision = decide(measured, GATE, force=plan.force)
    result = replace(result, measured=measured, decision=decision, seconds=_seconds(steps, precision))
    version, inputs = newest_inputs(plan.repository / result.entry)
    if decision.publish and version is not None and inputs == inputs_of(plan, variant, result):
        return replace(result, published=Published(version, unchanged=True))
    return result


def _seconds(steps: Steps, precision: Precision) -> dict[str, float]:
    return {title: spent for title, spent in steps.runner.seconds.items() if title.startswith(precision.value)}
