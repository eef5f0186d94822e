"""A build, from plan to published entries: every variant is made, verified and judged before the first is published."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone

from build_engines.machine import this_machine
from build_engines.pictures.picture_set import PictureSet
from build_engines.plan import Plan
from build_engines.publish import inputs_of, let_load, publish_variant
from build_engines.report import page as reports
from build_engines.report.page import Outcome, PictureWords, Report, VariantReport
from build_engines.repository.publication import check_ours, newest_inputs, workspace
from build_engines.steps import GATE, Progress, Verified, Workshop
from build_engines.values.precision import Precision


def build(plan: Plan, progress: Progress, *, reached: Callable[[str], None] = lambda _: None) -> Report:
    """Carry out `plan`. What the gate refuses, or what fails, is not published, and the report says why.

    `reached` is told each step that is done; a test ends the process there.

    Raises:
        BuildError: the plan was refused, or a step that all variants need failed. Nothing is half published; a
            variant that was published before the failure stays.
    """
    with workspace(plan.repository):  # Refuses early a repository that could not be published into.
        for precision in plan.precisions:
            check_ours(plan.repository, plan.entry_name(precision))
    workshop = Workshop(plan, progress, reached)
    verified = _variants(plan, workshop, lambda variant: variant.report.outcome is Outcome.PUBLISHED)
    report = _report(plan, workshop, verified)
    done = []
    for variant in report.variants:
        if variant.outcome is Outcome.PUBLISHED:
            with progress.step(f"{variant.precision.value} publish"):
                published = publish_variant(workshop, verified[variant.precision], variant, report)
            if plan.load:
                with progress.step(f"{variant.precision.value} load"):
                    let_load(workshop, verified[variant.precision], published)
            done.append(dataclasses.replace(variant, version=published.version))
        else:
            done.append(variant)
    report = dataclasses.replace(report, variants=tuple(done))
    reports.write(report, plan.reports / plan.base_name)
    workshop.cache.shrink()
    return report


def foresee(plan: Plan) -> list[tuple[Precision, str]]:
    """What `build` would do for each precision, as far as it is known without doing it."""
    workshop = Workshop(plan, _Silent(), lambda _: None)
    known = []
    variants = _variants(
        plan, workshop, lambda variant: not variant.step.done or variant.report.outcome is Outcome.PUBLISHED
    )
    for precision, variant in variants.items():
        if not variant.step.done:
            known.append((precision, "to build"))
            continue
        found = _settled(plan, variant)
        words = {Outcome.UNCHANGED: "as before", Outcome.PUBLISHED: "to publish", Outcome.REFUSED: "refused before"}
        known.append((precision, words[found.outcome]))
    return known


def _variants(plan: Plan, workshop: Workshop, passes: Callable[[Verified], bool]) -> dict[Precision, Verified]:
    """Every variant, the highest precision first: the next lower ones must beat what passed."""
    variants = {}
    # FP32 is there in any case: the others are made from it.
    passed = [Precision.FP32]
    for precision in [each for each in Precision if each in plan.precisions]:
        baseline = next((each for each in precision.higher if each in passed), None)
        variants[precision] = workshop.verified(precision, baseline)
        if passes(variants[precision]):
            passed.append(precision)
    return variants


def _settled(plan: Plan, variant: Verified) -> VariantReport:
    """The variant's report with what becomes of it."""
    found = variant.report
    if plan.force and found.outcome is Outcome.REFUSED:
        found = dataclasses.replace(found, outcome=Outcome.PUBLISHED, forced=True)
    if found.outcome is Outcome.PUBLISHED:
        version, inputs = newest_inputs(plan.repository / found.entry)
        if inputs == inputs_of(plan, variant, found):
            found = dataclasses.replace(found, outcome=Outcome.UNCHANGED, version=version)
    return found


def _report(plan: Plan, workshop: Workshop, verified: Mapping[Precision, Verified]) -> Report:
    variants = []
    for precision, variant in verified.items():
        steps = {title: spent for title, spent in workshop.seconds.items() if title.startswith(precision.value)}
        variants.append(dataclasses.replace(_settled(plan, variant), seconds=steps))
    return Report(
        model=plan.model,
        entry=plan.base_name,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        max_batch_size=plan.max_batch_size,
        machine=this_machine(),
        gate=GATE,
        calibration=_words(workshop.calibration),
        evaluation=_words(workshop.evaluation, _evaluation_notes(workshop)),
        variants=tuple(variants),
    )


def _words(pictures: PictureSet | None, notes: tuple[str, ...] = ()) -> PictureWords | None:
    return PictureWords(pictures.origin, len(pictures), pictures.sha256, notes) if pictures else None


def _evaluation_notes(workshop: Workshop) -> tuple[str, ...]:
    if workshop.evaluation is None:
        return ()
    seen = "calibration saw some of them, so the accuracy of new ones may be lower"
    return (workshop.targets.words,) if workshop.held_out else (workshop.targets.words, seen)


class _Silent:
    """A `Progress` that nobody watches."""

    def step(self, _name: str, /) -> AbstractContextManager[None]:
        """See `Progress.step`."""
        return nullcontext()

    def kept(self, _name: str, /) -> None:
        """See `Progress.kept`."""
