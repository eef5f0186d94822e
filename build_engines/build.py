"""A build, from plan to published entries: every variant is made, measured and judged before the first is published."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone

from build_engines.candidates import chosen, in_order, is_made
from build_engines.judge import GATE
from build_engines.machine import this_machine
from build_engines.plan import Plan
from build_engines.publish import let_load, let_load_as_before, publish_companion, publish_variant
from build_engines.report import Report, write
from build_engines.repository import check_kind, check_ours, workspace
from build_engines.results import Decision, Outcome, Published, Result
from build_engines.steps import Progress, Silent, Steps, Variant
from build_engines.values import Precision


def build(plan: Plan, progress: Progress, *, reached: Callable[[str], None] = lambda _: None) -> Report:
    """Carry out `plan`. What the gate refuses, or what fails, is not published, and the report says why.

    `reached` is told each step that is done; a test ends the process there.

    Raises:
        BuildError: the plan was refused, or a step that all variants need failed. Nothing is half published; a
            variant that was published before the failure stays.
    """
    with workspace(plan.repository):  # Refuses early a repository that could not be published into.
        for name in plan.entry_names:
            check_ours(plan.repository, name)
        check_kind(plan.repository, plan.entry_names, plan.compiler)
    steps = Steps(plan, progress, reached)
    _ = steps.companion and steps.companion.folder  # Not every model can be explained: say so before all else.
    variants: dict[Precision, Variant] = {}
    results: dict[Precision, Result] = {}
    for precision, baseline in in_order(plan, results):
        variants[precision], results[precision] = chosen(steps, precision, baseline)
    for precision, result in results.items():
        if result.outcome is Outcome.PASSED:
            results[precision] = _publish(steps, variants[precision], result, results)
        elif result.outcome is Outcome.UNCHANGED and plan.load:
            results[precision] = _load(steps, variants[precision], result)
    report = replace(_report(steps, results), explained=publish_companion(steps))
    write(report, plan.reports / plan.base_name)
    steps.runner.cache.shrink()
    return report


def foresee(plan: Plan) -> list[tuple[Precision, str]]:
    """What `build` would do for each precision, as far as it is known without doing it."""
    steps = Steps(plan, Silent(), lambda _: None)
    results: dict[Precision, Result] = {}
    known = []
    words = {Outcome.UNCHANGED: "as before", Outcome.PASSED: "to publish", Outcome.REFUSED: "refused before"}
    for precision, baseline in in_order(plan, results):
        if is_made(steps, precision, baseline):
            _, results[precision] = chosen(steps, precision, baseline)
            known.append((precision, words[results[precision].outcome]))
        else:
            results[precision] = Result("", precision, plan.compiler, decision=Decision(None))  # It may pass.
            known.append((precision, "to build"))
    return known


def _publish(steps: Steps, variant: Variant, result: Result, results: Mapping[Precision, Result]) -> Result:
    """The result with its version, whose own report says the number too."""
    plan, progress, name = steps.plan, steps.runner.progress, result.precision.value

    def published(version: int) -> dict[Precision, Result]:
        return {**results, result.precision: replace(result, published=Published(version))}

    with progress.step(f"{name} publish"):
        new = publish_variant(steps, variant, result, lambda to, version: write(_report(steps, published(version)), to))
    warning = ""
    if plan.load:
        with progress.step(f"{name} load"):
            warning = let_load(steps, variant, new)
    return replace(result, published=Published(new.version, warning=warning))


def _load(steps: Steps, variant: Variant, result: Result) -> Result:
    """The result of an entry that is as before, which the running Triton serves now too."""
    assert result.published is not None  # noqa: S101 (it is as before)
    with steps.runner.progress.step(f"{result.precision.value} load"):
        warning = let_load_as_before(steps, variant, result.entry, result.published.version)
    return replace(result, published=replace(result.published, warning=warning))


def _report(steps: Steps, results: Mapping[Precision, Result]) -> Report:
    plan, pictures = steps.plan, steps.pictures
    return Report(
        model=plan.source,
        entry=plan.base_name,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        max_batch_size=plan.max_batch_size,
        machine=this_machine(),
        gate=GATE,
        calibration=pictures.calibration.words() if pictures.calibration else None,
        evaluation=pictures.evaluation_words(steps.targets.words) if pictures.evaluation else None,
        variants=tuple(results.values()),
        origin=steps.exported.facts.provenance,
    )
