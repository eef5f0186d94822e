"""One model in every runtime that is here, at several batch sizes.

    python -m benchmarks.runtimes --model vit_small_patch16_224

Each runtime has a process of its own, so that memory is its own and a crash is a row. Times go from pixels in the
host's memory to probabilities there, normalisation and softmax included, for every runtime. The answers are compared
with those of torch in FP32 with attention written out, on 32 made pictures, one at a time; weights are random.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks import record
from benchmarks.record import Cell, Record
from benchmarks.runtimes.apart import Bounds, cells_of
from benchmarks.runtimes.runtimes import RUNTIMES

BATCHES = [1, 2, 4, 8, 16, 32, 64]


def page(found: Record) -> str:
    """As Markdown."""
    rows = [
        (
            str(cell.key["runtime"]),
            str(cell.key["batch"]),
            *(f"{cell.percentile(percent):.1f}" for percent in (50, 90, 99)),
            f"{1000 * int(cell.key['batch']) / cell.percentile(50):.1f}",
            f"{float(cell.facts['peak_mb']):.0f}",
            f"{100 * float(cell.facts['agreement']):.1f} %",
            f"{float(cell.facts['furthest']):.0e}",
        )
        for cell in found.cells
        if cell.samples
    ]
    heads = ("runtime", "batch", "p50 ms", "p90 ms", "p99 ms", "pictures/s", "MB", "same top-1", "differs by")
    left_out = [f"- {', '.join(map(str, cell.key.values()))}: {cell.skipped}" for cell in found.cells if cell.skipped]
    return "\n\n".join(
        (
            f"# Runtimes: {found.settings['model']}",
            record.words(found),
            record.table(heads, rows),
            "*MB*: at most, beside the loaded model. *Differs by*: a probability, at most, from torch eager in FP32.",
            *(("Not run here:", "\n".join(left_out)) if left_out else ()),
            "![Pictures a second by batch size](runtimes.png)",
        )
    )


def draw(found: Record, path: Path) -> None:
    """Pictures a second over the batch size, a line for each runtime."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (takes a second to import)

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for runtime in RUNTIMES:
        cells = [cell for cell in found.cells if cell.key["runtime"] == runtime and cell.samples]
        sizes = [int(cell.key["batch"]) for cell in cells]
        rates = [1000 * size / cell.percentile(50) for size, cell in zip(sizes, cells, strict=True)]
        if cells:
            axes.plot(sizes, rates, marker="o", label=runtime)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("pictures in a batch")
    axes.set_ylabel("pictures/s")
    axes.set_title(f"{found.settings['model']}, {found.machine['gpu'] or found.machine['cpu']}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="vit_small_patch16_224", help="timm's name; default: %(default)s")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES), metavar="NAME")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="N", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each cell; default: %(default)s")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a cell may take; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="default: %(default)s")
    options = parser.parse_args()
    bounds = Bounds(tuple(options.batches), options.seconds, options.limit)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        for runtime in track(options.runtimes, f"{options.model}", console=Console(stderr=True)):
            cells += cells_of(runtime, options.model, Path(folder), bounds)
    found = record.recorded("runtimes", "ms", cells, {"model": options.model})
    record.publish(found, options.out, page(found), partial(draw, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
