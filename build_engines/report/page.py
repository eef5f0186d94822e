"""What came of a build, for people: a page, a chart, and the same as JSON, which reads back as it was.

Holds what the steps found. No path of this machine belongs in it.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from build_engines.errors import UnwritableError
from build_engines.judge.accuracy import Accuracy, Labelled
from build_engines.judge.gate import Gate, Verdict, drop_interval
from build_engines.judge.speed import Race, Timing
from build_engines.report import chart
from build_engines.values.precision import Compiler, Precision

MARKDOWN_FILE = "report.md"
JSON_FILE = "report.json"
CHART_FILE = "report.png"

SCHEMA: Literal[1] = 1
"""Of the JSON; another one where a field changes its meaning or goes."""


class Outcome(str, Enum):
    """What became of a variant."""

    PUBLISHED = "published"
    REFUSED = "refused"
    """By the gate."""
    UNCHANGED = "unchanged"
    """Published before from the same inputs."""
    FAILED = "failed"
    """It could not be made, or its answers were no probabilities."""


@dataclass(frozen=True)
class Table:
    """Rows of text under their headings."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class PictureWords:
    """Which pictures were used."""

    origin: str
    """How a reader knows the set, without folders of this machine."""
    count: int
    sha256: str
    notes: tuple[str, ...] = ()
    """What else a reader must know of them."""


@dataclass(frozen=True)
class Machine:
    """What a build ran on."""

    cpu: str
    """The model's name."""
    cpus: int
    """How many of them the build could use."""
    gpu: str
    """The model's name, empty where there was none."""
    libraries: Mapping[str, str]
    """Their versions."""


@dataclass(frozen=True)
class VariantReport:
    """What came of one variant; what is empty or None was not reached."""

    entry: str
    precision: Precision
    compiler: Compiler
    runtime: str
    """What serves it, in words."""
    outcome: Outcome
    reason: str = ""
    """Of the outcome, in a sentence or two."""
    version: int | None = None
    """Under which it is published."""
    forced: bool = False
    """Published although the gate refused it."""
    graph_size: int | None = None
    """Bytes."""
    engine_size: int | None = None
    """Bytes."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each published file, by its name."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each step took, in order; a step that was done before is missing."""
    parity: Mapping[str, str] = field(default_factory=dict)
    accuracy: Accuracy | None = None
    accuracy_runtime: str = ""
    """What answered the pictures, in words."""
    race: Race | None = None
    timings: tuple[Timing, ...] = ()
    """Where there is no race."""
    verdict: Verdict | None = None
    sensitivity: Table | None = None
    """What each block costs in accuracy at this precision."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """What the entry's own provenance says."""

    @property
    def label(self) -> str:
        """What tells the variant from the others of its build."""
        return self.precision.value.upper() + _COMPILERS[self.compiler]

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Bytes of the graph and of the engine, of those there are."""
        sizes = (("graph", self.graph_size), ("engine", self.engine_size))
        return tuple((what, size) for what, size in sizes if size is not None)

    @property
    def speeds(self) -> tuple[Timing, ...]:
        """Its own timings as they were measured."""
        return self.race.candidate if self.race else self.timings


@dataclass(frozen=True)
class Report:
    """What came of a build."""

    model: str
    """timm's name."""
    entry: str
    """The base of the entries' names."""
    date: str
    """ISO 8601, UTC."""
    max_batch_size: int
    machine: Machine
    gate: Gate
    calibration: PictureWords | None
    evaluation: PictureWords | None
    variants: tuple[VariantReport, ...]
    schema: Literal[1] = SCHEMA


_COMPILERS = {Compiler.NONE: "", Compiler.TENSORRT: ", TensorRT", Compiler.RTX: ", TensorRT for RTX"}
_NOTHING = "-"


def to_json(report: Report) -> str:
    """The report as JSON, from which `from_json` makes an equal one."""
    return TypeAdapter(Report).dump_json(report, indent=1).decode()


def from_json(text: str) -> Report:
    """The report that `to_json` wrote.

    Raises:
        ValueError: it is none, or of another schema.
    """
    try:
        return TypeAdapter(Report).validate_json(text)
    except ValidationError as error:
        raise ValueError(f"this is no report of schema {SCHEMA}: {error}") from error


def write(report: Report, folder: Path) -> None:
    """Write the page, the JSON and the chart into `folder`, each of them whole or not at all.

    Raises:
        UnwritableError: the disk is full, or the folder may not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as name:
            work = Path(name)
            drawn = chart.draw(to_chart(report), work / CHART_FILE)
            (work / JSON_FILE).write_text(to_json(report) + "\n", encoding="utf-8")
            (work / MARKDOWN_FILE).write_text(to_markdown(report, chart_file=CHART_FILE if drawn else ""), "utf-8")
            for file in work.iterdir():
                os.replace(file, folder / file.name)
        if not drawn:
            (folder / CHART_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError(
            f"cannot write the report into {folder} ({error.strerror or error}); free space or grant permission"
        ) from error


def to_chart(report: Report) -> chart.Chart:
    """What the chart shows of the report."""
    # Variants are on one axis, so they share one measure: top-1 where all of them have it.
    rated = [each.accuracy for each in report.variants if each.accuracy]
    labelled = [accuracy.labelled for accuracy in rated if accuracy.labelled]
    by_label = bool(labelled) and len(labelled) == len(rated)
    if by_label:
        limit = 100 * labelled[0].reference_top1 - report.gate.max_top1_drop
    else:
        limit = 100 * report.gate.min_agreement
    compilers = {each.compiler for each in report.variants}
    alike = len(compilers) == 1
    variants = []
    for each in report.variants:
        accuracy = None
        if each.accuracy:
            top1 = each.accuracy.labelled.top1 if by_label and each.accuracy.labelled else each.accuracy.agreement
            accuracy = 100 * top1
        variants.append(
            chart.Drawn(
                precision=each.precision,
                compiler=each.compiler,
                label=each.precision.value.upper() if alike else each.label,
                refused=each.outcome in (Outcome.REFUSED, Outcome.FAILED),
                accuracy=accuracy,
                latencies=tuple(sorted(latencies(report, each).items())),
                sizes=each.sizes,
            )
        )
    return chart.Chart(
        title=report.entry + ("".join(_COMPILERS[each] for each in compilers) if alike else ""),
        measure="top-1" if by_label else "agreement with FP32",
        limit=limit if rated else None,
        variants=tuple(variants),
    )


def to_markdown(report: Report, *, chart_file: str = "") -> str:
    """The report as a page, with the chart in `chart_file` where there is one."""
    blocks = [f"# Build of {report.entry}", _opening(report), *_outcomes(report), _overview(report)]
    if chart_file:
        blocks.append(f"![Accuracy and speed of each variant]({chart_file})")
    for each in report.variants:
        blocks += [f"## {each.label}: `{each.entry}`", *_details(report, each)]
    blocks += ["## How it was measured", _bullets(_method(report)), "## Where it was built", _machine(report.machine)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _opening(report: Report) -> str:
    counts = [(outcome, sum(each.outcome is outcome for each in report.variants)) for outcome in Outcome]
    said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts if count)
    return f"Built from `{report.model}` on {report.date[:10]}. Of {_count(len(report.variants), 'variant')}: {said}."


def _outcomes(report: Report) -> Iterable[str]:
    lines = []
    for each in report.variants:
        why = _line(each.reason or "; ".join(each.verdict.failures if each.verdict else ()))
        match each.outcome:
            case Outcome.PUBLISHED if each.forced:
                said = f"**published as version {each.version}, by force**, although the gate refuses it"
            case Outcome.PUBLISHED:
                said = f"**published** as version {each.version}"
            case Outcome.UNCHANGED:
                said = f"**unchanged**, version {each.version} is of the same inputs"
            case outcome:
                said = f"**{outcome.value}**, not published"
        lines.append(f"{each.label} (`{each.entry}`): {said}{': ' + why if why else ''}")
    yield _bullets(lines)


def latencies(report: Report, variant: VariantReport) -> dict[int, float]:
    """Milliseconds of a run by batch size, such as can be compared with those of the other variants.

    The load of a shared machine changes from one race to the next, so that medians of different races cannot be
    compared. What was not raced gets the lowest of its medians; from there each race's ratios lead on.
    """
    race = variant.race
    if race is None:
        return _undisturbed(report, variant.compiler, variant.precision)
    rivals = [each for each in report.variants if each.compiler is variant.compiler and each.precision is race.against]
    rival = latencies(report, rivals[0]) if rivals else _undisturbed(report, variant.compiler, race.against)
    times = [(own.batch, own.p50_ms, ratio) for own, ratio in zip(race.candidate, race.ratios, strict=True)]
    return {batch: rival[batch] / ratio if batch in rival else own for batch, own, ratio in times}


def _undisturbed(report: Report, compiler: Compiler, precision: Precision) -> dict[int, float]:
    """The lowest of the medians at each batch size: other work on the machine only ever adds time."""
    lowest: dict[int, float] = {}
    for each in report.variants:
        if each.compiler is compiler:
            raced = each.race.baseline if each.race and each.race.against is precision else ()
            alone = each.timings if each.precision is precision else ()
            for timing in (*raced, *alone):
                lowest[timing.batch] = min(timing.p50_ms, lowest.get(timing.batch, timing.p50_ms))
    return lowest


def _overview(report: Report) -> str:
    speeds = [latencies(report, each) for each in report.variants]
    largest = max((batch for speed in speeds for batch in speed), default=0)
    rows = []
    for each, speed in zip(report.variants, speeds, strict=True):
        labelled = each.accuracy.labelled if each.accuracy else None
        rows.append(
            (
                each.label,
                each.outcome.value + (" by force" if each.forced else ""),
                _megabytes(each.engine_size or each.graph_size),
                f"{100 * labelled.top1:.2f} %" if labelled else _NOTHING,
                _change(each.accuracy),
                f"{100 * each.accuracy.agreement:.2f} %" if each.accuracy else _NOTHING,
                f"{each.race.speedup:.2f} times {each.race.against.value.upper()}" if each.race else _NOTHING,
                f"{_digits(speed[1])} ms" if 1 in speed else _NOTHING,
                _digits(1000 * largest / speed[largest]) if largest in speed else _NOTHING,
            )
        )
    heads = ("Variant", "Outcome", "Size", "Top-1", "Against FP32", "Same top-1 as FP32", "Speed", "Latency at batch 1")
    return _table(Table((*heads, f"Pictures/s at batch {largest}"), tuple(rows)))


def _change(accuracy: Accuracy | None) -> str:
    return _NOTHING if accuracy is None or accuracy.top1_drop is None else f"{0 - accuracy.top1_drop:+.2f} points"


def _details(report: Report, variant: VariantReport) -> Iterable[str]:
    verdict = variant.verdict
    if verdict:
        yield "The gate lets it pass." if verdict.passed else "The gate refuses it:"
        yield _bullets(verdict.failures)
        yield "Notes:" if verdict.notes else ""
        yield _bullets(verdict.notes)
    if variant.accuracy:
        yield _accuracy(variant.accuracy, variant.accuracy_runtime)
    yield from _speed(report, variant)
    if variant.sensitivity:
        yield "What each block costs at this precision:"
        yield _table(variant.sensitivity)
    facts = [
        ("served by", variant.runtime),
        ("size", ", ".join(f"{what} {_megabytes(size)}" for what, size in variant.sizes)),
        ("steps", ", ".join(f"{step} {seconds:.1f} s" for step, seconds in variant.seconds.items())),
        *((f"sha256 of {file}", f"`{digest}`") for file, digest in variant.files.items()),
        *variant.parity.items(),
        *variant.provenance.items(),
    ]
    yield _table(Table(("Fact", "Value"), tuple((key, value) for key, value in facts if value)))


def _accuracy(accuracy: Accuracy, runtime: str) -> str:
    said = [
        f"top-1 as FP32 on {100 * accuracy.agreement:.2f} % of {accuracy.pictures:,} pictures",
        f"probabilities differ by {accuracy.mean_abs_diff:.1e} on average, by {accuracy.max_abs_diff:.1e} at most",
    ]
    if accuracy.labelled:
        said = [*_right(accuracy, accuracy.labelled), *said]
    return "Accuracy" + (f", in {runtime}" if runtime else "") + ":\n\n" + _bullets(said)


def _right(accuracy: Accuracy, labelled: Labelled) -> Sequence[str]:
    low, high = drop_interval(labelled.lost, labelled.gained, accuracy.pictures)
    said = [
        f"top-1 {100 * labelled.top1:.2f} %, FP32 {100 * labelled.reference_top1:.2f} %: {_change(accuracy)}, with "
        f"95 % certainty between {0 - high:+.2f} and {0 - low:+.2f}",
        f"right in FP32 and wrong here: {_count(labelled.lost, 'picture')}; the other way round: {labelled.gained:,}",
    ]
    if labelled.top5 is not None and labelled.reference_top5 is not None:
        said.append(f"top-5 {100 * labelled.top5:.2f} %, FP32 {100 * labelled.reference_top5:.2f} %")
    return said


def _speed(report: Report, variant: VariantReport) -> Iterable[str]:
    race, timings = variant.race, variant.speeds
    if not timings:
        return
    runtime = race.runtime if race else variant.runtime
    if race:
        against = race.against.value.upper()
        yield (
            f"Speed, in {runtime}: {race.speedup:.2f} times as fast as {against} over all batch sizes, faster in "
            f"{sum(race.wins):,} of {_count(race.rounds, 'pair')} of runs:"
        )
        heads = ("Batch", "p50", f"p50 of {against}", "Speed", "p99", "Pictures/s", "Runs")
        rows = [
            (*_times(timing)[:2], f"{_digits(other.p50_ms)} ms", f"{ratio:.2f} times", *_times(timing)[2:])
            for timing, other, ratio in zip(timings, race.baseline, race.ratios, strict=True)
        ]
        yield _table(Table(heads, tuple(rows)))
    else:
        yield f"Speed, in {runtime}:"
        yield _table(Table(("Batch", "p50", "p99", "Pictures/s", "Runs"), tuple(map(_times, timings))))
    if timings[-1].batch < report.max_batch_size:
        yield f"Batches above {timings[-1].batch} were left out: they would have taken too long to time."


def _times(timing: Timing) -> tuple[str, ...]:
    p50, p99 = f"{_digits(timing.p50_ms)} ms", f"{_digits(timing.p99_ms)} ms"
    return str(timing.batch), p50, p99, _digits(timing.throughput), str(timing.runs)


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
    if any(each.accuracy and each.accuracy_runtime not in ("", each.runtime) for each in variants):
        yield (
            "The accuracy of a variant was measured in the runtime named there, which is not the one that serves it; "
            "ONNX Runtime's optimiser is off for such a graph, because it computes some of them wrongly on a CPU."
        )
    if any(each.race for each in variants):
        yield (
            "Speed: variant and baseline ran in turn, on the same pictures, and who went first alternated. Their times "
            "are compared pair by pair; the median over the pairs is the speed at a batch size, the geometric mean "
            "over the batch sizes is the speed. The tables of the variants have the times as they were measured. The "
            "load of the machine may change from one race to the next, so the first table and the chart start from "
            "the lowest median of what was not raced and go on from there by these speeds."
        )
    if any(timing.runs < 100 for each in variants for timing in each.speeds):
        yield "where there are fewer than 100 runs, p99 is the slowest."
    silent = [each.label for each in variants if each.accuracy and not each.speeds]
    if silent:
        yield f"Speed was not measured of {', '.join(silent)}; the notes there say why."


def _machine(machine: Machine) -> str:
    facts = [
        ("CPU", f"{machine.cpu}, {_count(machine.cpus, 'CPU')} in use"),
        ("GPU", machine.gpu or "none"),
        *machine.libraries.items(),
    ]
    return _table(Table(("What", "Value"), tuple(facts)))


def _set(pictures: PictureWords) -> str:
    return f"{_count(pictures.count, 'picture')} of {pictures.origin} (sha256 `{pictures.sha256}`)"


def _table(table: Table) -> str:
    """As Markdown, without the columns that say nothing in any row; nothing of a table without rows."""
    if not table.rows:
        return ""
    kept = [index for index in range(len(table.columns)) if {row[index] for row in table.rows} - {_NOTHING}]
    rows = [table.columns, ("---",) * len(table.columns), *table.rows]
    return "\n".join(
        f"| {' | '.join(_line(row[index]).replace('|', chr(92) + '|') for index in kept)} |" for row in rows
    )


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line[0].upper()}{line[1:]}" for line in map(_line, lines))


def _line(text: str) -> str:
    return " ".join(text.split())


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _megabytes(size: int | None) -> str:
    return _NOTHING if size is None else f"{size / 1e6:,.1f} MB"


def _digits(value: float) -> str:
    """Three digits that count; all of those before the point."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
