"""The report as files: a page, a chart, and the same as JSON."""

import os
import tempfile
from pathlib import Path

from build_engines.errors import UnwritableError
from build_engines.report.chart import Chart, Plot, draw
from build_engines.report.page import to_markdown
from build_engines.report.report import Report, latencies, to_json
from build_engines.results import COMPILER_WORDS, Outcome

MARKDOWN_FILE = "report.md"
JSON_FILE = "report.json"
CHART_FILE = "report.png"


def write(report: Report, folder: Path) -> None:
    """Write the page, the JSON and the chart into `folder`, each of them whole or not at all.

    Raises:
        UnwritableError: the disk is full, or the folder may not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as name:
            work = Path(name)
            drawn = draw(to_chart(report), work / CHART_FILE)
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


def to_chart(report: Report) -> Chart:
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
            Plot(
                precision=each.precision,
                compiler=each.compiler,
                label=each.precision.value.upper() if alike else each.label,
                refused=each.outcome in (Outcome.REFUSED, Outcome.FAILED),
                accuracy=accuracy,
                latencies=tuple(sorted(latencies(report, each).items())),
                sizes=each.measured.sizes if each.measured else (),
            )
        )
    return Chart(
        title=report.entry + ("".join(COMPILER_WORDS[each] for each in compilers) if alike else ""),
        measure="top-1" if by_label else "agreement with FP32",
        limit=limit if rated else None,
        variants=tuple(variants),
    )
