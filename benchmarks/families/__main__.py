"""The families of models side by side: what they consist of, and what this machine makes of them.

    python -m benchmarks.families

Parameters and operations are counted, memory and throughput are measured in torch (FP32, fused attention), each model
in a process of its own. The roofline says how far that is from what the machine can do, by its own measured rates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks import record
from benchmarks.families.counts import Counts, count
from benchmarks.families.machine import Roofs, roofs
from benchmarks.record import Cell, Record
from benchmarks.runtimes.apart import Bounds, cells_of
from benchmarks.runtimes.runtimes import load

MODELS = (
    *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224"),
    *("deit_small_patch16_224", "deit_base_distilled_patch16_224"),
    *("swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224", "resnet50"),
)
RUNTIME = "torch SDPA"


def counted(name: str) -> Counts:
    """The counts of a timm model at its own size."""
    classifier = load(name, fused=False).classifier
    return count(classifier.model, (classifier.preprocessing.height, classifier.preprocessing.width))


def attention() -> Cell:
    """Megabytes: of one layer's attention matrices as computed, and the peaks with and without a fused kernel."""
    facts: dict[str, float | str] = {}
    for how in ("written out", "fused"):
        command = [sys.executable, "-m", "benchmarks.families.attention", how]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603
        if done.returncode:
            words = f"attention {how} ended with {done.returncode}; it takes some 4 GB"
            return Cell({"layer": "attention"}, skipped=words)
        said = json.loads(done.stdout)
        facts |= {"matrix_mb": said["matrix_mb"], f"{how} mb": said["peak_mb"]}
    return Cell({"layer": "attention"}, facts=facts)


def counts_of(cell: Cell) -> Counts:
    """What was counted of a cell's model."""
    return Counts(*(int(cell.facts["parameters"]), float(cell.facts["gflops"]), int(cell.facts["activation_bytes"])))


def roofs_of(found: Record) -> Roofs:
    """The roofs that were measured with it."""
    facts = next(cell.facts for cell in found.cells if "machine" in cell.key)
    return Roofs(float(facts["gflops"]), float(facts["gigabytes"]))


def page(found: Record) -> str:
    """As Markdown."""
    machine = roofs_of(found)
    rows = []
    for cell in (cell for cell in found.cells if cell.samples):
        each, batch = counts_of(cell), int(cell.key["batch"])
        rate = 1000 * batch / cell.percentile(50)
        achieved, roof = rate * each.gflops, machine.at(each.intensity(batch))
        rows.append(
            (
                str(cell.key["model"]),
                f"{each.parameters / 1e6:.1f}",
                f"{each.gflops:.1f}",
                str(batch),
                f"{cell.percentile(50):.0f}",
                f"{rate:.2f}" if rate < 10 else f"{rate:.1f}",
                f"{float(cell.facts['peak_mb']):.0f}",
                f"{each.intensity(batch):.0f}",
                f"{achieved:.0f}",
                f"{100 * achieved / roof:.0f} %",
            )
        )
    heads = (
        "model",
        "M parameters",
        "GFLOPs",
        "batch",
        "p50 ms",
        "pictures/s",
        "MB",
        "FLOPs/byte",
        "GFLOP/s",
        "of the roof",
    )
    left_out = [f"- {', '.join(map(str, cell.key.values()))}: {cell.skipped}" for cell in found.cells if cell.skipped]
    return "\n\n".join(
        (
            "# Families",
            record.words(found),
            f"This machine multiplies {machine.gflops:.0f} GFLOP/s (a 2048 x 2048 FP32 product) and copies "
            f"{machine.gigabytes:.1f} GB/s, so what needs less than {machine.gflops / machine.gigabytes:.0f} "
            "operations a byte is bound by memory.",
            record.table(heads, rows),
            "*GFLOPs*: of a picture, a multiply-add counted as two. *MB*: at most, beside the loaded model. "
            "*FLOPs/byte*: each module reads its input and weights and writes its output once.",
            *(("Not run here:", "\n".join(left_out)) if left_out else ()),
            "![Roofline](families.png)",
            *_attention(next(cell for cell in found.cells if "layer" in cell.key)),
        )
    )


def _attention(layer: Cell) -> tuple[str, ...]:
    if layer.skipped:
        return ()
    matrix, written, fused = (float(layer.facts[name]) for name in ("matrix_mb", "written out mb", "fused mb"))
    return (
        "## What attention takes",
        "A ViT-B layer on pictures of 512 x 512, patches of 16: 1,025 tokens. A batch of 32 with 12 heads in FP32 "
        f"has 32 x 12 x 1,025² x 4 bytes = {matrix:,.0f} MB of scores. Measured, at most, in a process of its own: "
        f"{written:,.0f} MB with attention written out, {fused:,.0f} MB with torch's fused kernel, which never has the "
        "whole matrix. Queries, keys, values and the answer are 32 x 1,025 x 768 x 4 bytes = 101 MB each, and in both. "
        f"Written out, the difference is {(written - fused) / matrix:.2f} matrices: the scores, and what the softmax "
        "makes of them.",
    )


def draw(found: Record, path: Path) -> None:
    """The roofs, and each model at the batch sizes that were measured."""
    import numpy as np  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415 (takes a second to import)

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    machine = roofs_of(found)
    line = np.geomspace(1, 200, 100)
    axes.plot(line, [machine.at(float(each)) for each in line], color="black", linewidth=1)
    for name in dict.fromkeys(cell.key["model"] for cell in found.cells if cell.samples):
        cells = [cell for cell in found.cells if cell.key.get("model") == name and cell.samples]
        each, sizes = counts_of(cells[0]), [int(cell.key["batch"]) for cell in cells]
        achieved = [1000 * size / cell.percentile(50) * each.gflops for size, cell in zip(sizes, cells, strict=True)]
        axes.plot([each.intensity(size) for size in sizes], achieved, marker="o", markersize=4, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte moved (FLOPs/byte)")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"FP32, {found.machine['gpu'] or found.machine['cpu']}; a line joins the batch sizes", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME", help="timm's names")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 8, 32, 64], metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each cell; default: %(default)s")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a cell may take; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="default: %(default)s")
    options = parser.parse_args()
    bounds = Bounds(tuple(options.batches), options.seconds, options.limit)
    cells = [Cell({"machine": "roofs"}, facts=roofs()._asdict())]
    for name in track(options.models, "families", console=Console(stderr=True)):
        counts = counted(name)._asdict()
        with tempfile.TemporaryDirectory() as folder:
            for cell in cells_of(RUNTIME, name, Path(folder), bounds):
                batch = {"batch": cell.key["batch"]} if "batch" in cell.key else {}
                cells.append(Cell({"model": name, **batch}, cell.samples, {**cell.facts, **counts}, cell.skipped))
    cells.append(attention())
    found = record.recorded("families", "ms", cells, {"runtime": RUNTIME})
    record.publish(found, options.out, page(found), partial(draw, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
