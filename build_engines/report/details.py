"""What the page says about one variant."""

from collections.abc import Iterable, Sequence

from build_engines.judge import Accuracy, Labelled, Timing, drop_interval
from build_engines.report.markdown import NOTHING, bullets, count, digits, megabytes, table
from build_engines.report.report import Report
from build_engines.results import Measured, Result, Table


def details(report: Report, variant: Result) -> Iterable[str]:
    """The part of the page about one variant."""
    verdict = variant.verdict
    if verdict:
        yield "The gate lets it pass." if verdict.passed else "The gate refuses it:"
        yield bullets(verdict.failures)
        yield "Notes:" if verdict.notes else ""
        yield bullets(verdict.notes)
    if variant.others:
        chosen = "quantised" if variant.attention else "in FP16"
        yield f"Attention is {chosen}. The other candidate was not chosen:"
        yield bullets(variant.others)
    measured = variant.measured
    if measured is None:
        return
    if measured.accuracy:
        yield _accuracy(measured.accuracy, measured.accuracy_runtime)
    yield from _speed(measured, report.max_batch_size)
    if measured.sensitivity:
        yield "What each block costs at this precision:"
        yield table(measured.sensitivity)
    facts = [
        ("served by", measured.runtime),
        ("size", ", ".join(f"{what} {megabytes(size)}" for what, size in measured.sizes)),
        ("steps", ", ".join(f"{step} {seconds:.1f} s" for step, seconds in variant.seconds.items())),
        *((f"sha256 of {file}", f"`{digest}`") for file, digest in measured.files.items()),
        *measured.parity.items(),
    ]
    yield table(Table(("Fact", "Value"), tuple((key, value) for key, value in facts if value)))


def _accuracy(accuracy: Accuracy, runtime: str) -> str:
    said = [
        f"top-1 as FP32 on {100 * accuracy.agreement:.2f} % of {accuracy.pictures:,} pictures",
        f"probabilities differ by {accuracy.mean_abs_diff:.1e} on average, by {accuracy.max_abs_diff:.1e} at most",
    ]
    if accuracy.labelled:
        said = [*_right(accuracy, accuracy.labelled), *said]
    return "Accuracy" + (f", in {runtime}" if runtime else "") + ":\n\n" + bullets(said)


def _right(accuracy: Accuracy, labelled: Labelled) -> Sequence[str]:
    low, high = drop_interval(labelled.lost, labelled.gained, accuracy.pictures)
    said = [
        f"top-1 {100 * labelled.top1:.2f} %, FP32 {100 * labelled.reference_top1:.2f} %: {change(accuracy)}, with "
        f"95 % certainty between {0 - high:+.2f} and {0 - low:+.2f}",
        f"right in FP32 and wrong here: {count(labelled.lost, 'picture')}; the other way round: {labelled.gained:,}",
    ]
    if labelled.top5 is not None and labelled.reference_top5 is not None:
        said.append(f"top-5 {100 * labelled.top5:.2f} %, FP32 {100 * labelled.reference_top5:.2f} %")
    return said


def _speed(measured: Measured, largest: int) -> Iterable[str]:
    race, timings = measured.race, measured.speeds
    if not timings:
        return
    runtime = race.runtime if race else measured.runtime
    if race:
        against = race.against.value.upper()
        yield (
            f"Speed, in {runtime}: {race.speedup:.2f} times as fast as {against} over all batch sizes, faster in "
            f"{sum(race.wins):,} of {count(race.rounds, 'pair')} of runs:"
        )
        heads = ("Batch", "p50", f"p50 of {against}", "Speed", "p99", "Pictures/s", "Runs", "Weight")
        equal = len(set(race.weights)) == 1
        rows = [
            (*_times(timing)[:2], f"{digits(other.p50_ms)} ms", f"{ratio:.2f} times", *_times(timing)[2:], said)
            for timing, other, ratio, said in zip(
                timings,
                race.baseline,
                race.ratios,
                (NOTHING if equal else str(each) for each in race.weights),
                strict=True,
            )
        ]
        yield table(Table(heads, tuple(rows)))
    else:
        yield f"Speed, in {runtime}:"
        yield table(Table(("Batch", "p50", "p99", "Pictures/s", "Runs"), tuple(map(_times, timings))))
    if any(timing.copies_ms for timing in timings):
        apart = ", ".join(f"{digits(timing.copies_ms or 0.0)} ms at {timing.batch}" for timing in timings)
        yield f"Copies to the GPU and back are not in these times: {apart}."
    if timings[-1].batch < largest:
        yield f"Batches above {timings[-1].batch} were left out: they would have taken too long to time."


def _times(timing: Timing) -> tuple[str, ...]:
    p50, p99 = f"{digits(timing.p50_ms)} ms", f"{digits(timing.p99_ms)} ms"
    return str(timing.batch), p50, p99, digits(timing.throughput), str(timing.runs)


def change(accuracy: Accuracy | None) -> str:
    """How far top-1 is from FP32's."""
    return NOTHING if accuracy is None or accuracy.top1_drop is None else f"{0 - accuracy.top1_drop:+.2f} points"
