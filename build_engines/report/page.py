"""The report as a page for people."""

from collections.abc import Iterable

from build_engines.machine import Machine
from build_engines.pictures import PictureWords
from build_engines.report.details import change, details
from build_engines.report.markdown import NOTHING, bullets, count, digits, megabytes, one_line, table
from build_engines.report.report import Report, latencies
from build_engines.results import Outcome, Result, Table


def to_markdown(report: Report, *, chart_file: str = "") -> str:
    """The report as a page, with the chart in `chart_file` where there is one."""
    blocks = [f"# Build of {report.entry}", _opening(report), *_outcomes(report), _overview(report)]
    if chart_file:
        blocks.append(f"![Accuracy and speed of each variant]({chart_file})")
    for each in report.variants:
        blocks += [f"## {each.label}: `{each.entry}`", *details(report, each)]
    if report.origin:
        origin = tuple((key.replace("_", " "), one_line(value)) for key, value in report.origin.items())
        blocks += ["## What it was made of", table(Table(("What", "Value"), origin))]
    blocks += ["## How it was measured", bullets(_method(report)), "## Where it was built", _machine(report.machine)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _opening(report: Report) -> str:
    counts = [(outcome, sum(each.outcome is outcome for each in report.variants)) for outcome in Outcome]
    said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts if count)
    return f"Built from `{report.model}` on {report.date[:10]}. Of {count(len(report.variants), 'variant')}: {said}."


def _outcomes(report: Report) -> Iterable[str]:
    lines = [f"{each.label} (`{each.entry}`): {_outcome(each)}" for each in report.variants]
    if report.explained:
        lines.append(f"Companion (`{report.explained.entry}`): {report.explained.words}")
    yield bullets(lines)


def _outcome(result: Result) -> str:
    published, why = result.published, f": {one_line(result.reason)}" if result.reason else ""
    if published is None:
        said = "will be published next" if result.outcome is Outcome.PASSED else "not published"
        return f"**{result.outcome.value}**, {said}{why}"
    if published.unchanged:
        said = f"**unchanged**, version {published.version} is of the same inputs"
    elif result.forced:
        said = f"**published as version {published.version}, by force**, although the gate refuses it"
    else:
        said = f"**published** as version {published.version}"
    return said + why + (f"; {published.warning}" if published.warning else "")


def _overview(report: Report) -> str:
    speeds = [latencies(report, each) for each in report.variants]
    largest = max((batch for speed in speeds for batch in speed), default=0)
    rows = []
    for each, speed in zip(report.variants, speeds, strict=True):
        labelled = each.accuracy.labelled if each.accuracy else None
        size = each.measured.engine_size or each.measured.graph_size if each.measured else None
        rows.append(
            (
                each.label,
                each.outcome.value + (" by force" if each.forced else ""),
                megabytes(size),
                f"{100 * labelled.top1:.2f} %" if labelled else NOTHING,
                change(each.accuracy),
                f"{100 * each.accuracy.agreement:.2f} %" if each.accuracy else NOTHING,
                f"{each.race.speedup:.2f} times {each.race.against.value.upper()}" if each.race else NOTHING,
                f"{digits(speed[1])} ms" if 1 in speed else NOTHING,
                digits(1000 * largest / speed[largest]) if largest in speed else NOTHING,
            )
        )
    heads = ("Variant", "Outcome", "Size", "Top-1", "Against FP32", "Same top-1 as FP32", "Speed", "Latency at batch 1")
    return table(Table((*heads, f"Pictures/s at batch {largest}"), tuple(rows)))


def _method(report: Report) -> Iterable[str]:
    gate, variants = report.gate, report.variants
    yield (
        f"The gate: top-1 falls by at most {gate.max_top1_drop:.2f} points, or, where the pictures have no labels that "
        f"FP32 knows something of, at least {100 * gate.min_agreement:.2f} % of them get the same top-1 as from FP32; "
        f"and the variant is more than {gate.min_speedup:.2f} times as fast as the next higher precision."
    )
    if report.evaluation:
        answered = f"the FP32 model in torch and each variant answered the same {_set(report.evaluation)}"
        yield f"Accuracy: {'; '.join((answered, *report.evaluation.notes))}."
    if report.calibration:
        yield f"Calibration: ranges were taken from {_set(report.calibration)}."
    if any(each.measured.accuracy_runtime not in ("", each.measured.runtime) for each in variants if each.measured):
        yield (
            "The accuracy of a variant was measured in the runtime named there, which is not the one that serves it; "
            "ONNX Runtime's optimiser is off for such a graph, because it computes some of them wrongly on a CPU."
        )
    if any(each.race for each in variants):
        yield (
            "Speed: variant and baseline ran in turn, on the same pictures, and who went first alternated. Their "
            "times are compared pair by pair; the median over the pairs is the speed at a batch size, the "
            "geometric mean over the batch sizes, by their weight, is the speed. The tables of the variants have "
            "the times as they were measured. The load of the machine may change from one race to the next, so "
            "the first table and the chart start from the lowest median of what was not raced and go on from "
            "there by these speeds."
        )
    if any(timing.runs < 100 for each in variants for timing in each.speeds):
        yield "where there are fewer than 100 runs, p99 is the slowest."
    silent = [each.label for each in variants if each.accuracy and not each.speeds]
    if silent:
        yield f"Speed was not measured of {', '.join(silent)}; the notes there say why."


def _machine(machine: Machine) -> str:
    facts = [
        ("CPU", f"{machine.cpu}, {count(machine.cpus, 'CPU')} in use"),
        ("GPU", machine.gpu or "none"),
        *machine.libraries.items(),
    ]
    return table(Table(("What", "Value"), tuple(facts)))


def _set(pictures: PictureWords) -> str:
    return f"{count(pictures.count, 'picture')} of {pictures.origin} (sha256 `{pictures.sha256}`)"
