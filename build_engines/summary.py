"""What the command prints: of a build, and of an entry."""

from collections.abc import Iterator

from build_engines.plan import Plan
from build_engines.report import MARKDOWN_FILE, Report
from build_engines.repository import Description
from build_engines.results import Result
from build_engines.values import Compiler

_ORIGIN = ("weights", "layout", "labels", "pictures")
"""What is printed of a model's origin; the report has the rest."""


def summary(plan: Plan, report: Report, seconds: float) -> str:
    """What came of a build that took so many seconds."""
    lines = [f"\n{report.model} in {seconds:.1f} s; the report is {plan.reports / plan.base_name / MARKDOWN_FILE}"]
    lines += [f"  {key:<10} {report.origin[key]}" for key in _ORIGIN if key in report.origin]
    if report.evaluation:
        lines.append(f"  evaluation {'; '.join((report.evaluation.origin, *report.evaluation.notes))}")
    if "timm_deprecated" in report.origin:
        lines.append(f"  timm gave up the name {report.origin['timm_deprecated']}; name the model as above")
    for variant in report.variants:
        lines.append(f"  {variant.entry:<32} {_outcome(variant)}")
        failures = (variant.failure,) if variant.failure else variant.verdict.failures if variant.verdict else ()
        lines += [f"      {failure}" for failure in failures]
        if variant.published and variant.published.warning:
            lines.append(f"      {variant.published.warning}")
    if report.explained:
        lines.append(f"  {report.explained.entry:<32} {report.explained.words}")
        if report.explained.published.warning:
            lines.append(f"      {report.explained.published.warning}")
    if plan.compiler is Compiler.RTX:
        lines.append("Triton has no backend for TensorRT for RTX; its engines are for programs that call it.")
    elif any(variant.published for variant in report.variants):
        lines.append("Once Triton and the gateway run (docs/overview.md):")
        lines.append(f"  curl -F file=@picture.jpg http://127.0.0.1:8080/v1/models/{plan.base_name}/classify")
    return "\n".join(lines)


def _outcome(variant: Result) -> str:
    words = f"{variant.outcome.value}, not published"
    if variant.published:
        how = "as before, version" if variant.published.unchanged else "published as version"
        words = f"{how} {variant.published.version}"
    accuracy = variant.accuracy
    if accuracy and accuracy.labelled:
        words += f"; top-1 {100 * accuracy.labelled.top1:.2f} % (FP32 {100 * accuracy.labelled.reference_top1:.2f} %)"
    elif accuracy:
        words += f"; agrees with FP32 on {100 * accuracy.agreement:.2f} %"
    if variant.race:
        words += f"; {variant.race.speedup:.2f} times the speed of {variant.race.against.value.upper()}"
    return f"{words}; forced" if variant.forced else words


def description(found: Description) -> Iterator[str]:
    """All that an entry says of itself, line by line."""
    shown, entry = found.published, found.published.entry
    yield f"{shown.name}: {shown.problem or 'served by ' + shown.backend}"
    if entry:
        size = entry.preprocessing
        yield f"  input     uint8 [batch, {size.height}, {size.width}, 3], batches up to {entry.max_batch_size}"
        yield f"  pictures  {size.crop_mode.value}, {size.interpolation.value}, crop_pct {size.crop_pct}"
        if rollout := entry.explains:
            yield f"  explains  {', '.join(rollout.entries)}: {rollout.layers} layers, {rollout.heads} heads"
        yield f"  classes   {entry.classes}: {', '.join(entry.labels[:5])}{', ...' if entry.classes > 5 else ''}"
    for each in shown.versions:
        served = ", served" if each.served else ""
        yield f"  version   {each.number}, {each.size / 1e6:.1f} MB, {each.date}{served}"
    if found.report:
        yield f"  report    {found.report.with_name(MARKDOWN_FILE)}"
    for key, value in found.provenance:
        yield f"  {key:<28} {value}"
