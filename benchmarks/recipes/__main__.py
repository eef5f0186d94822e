"""INT8 and BF16 on a CPU, by every recipe at hand: speed beside FP32, file, and accuracy on labelled pictures.

    python -m benchmarks.recipes PLANS.toml

The models are those of a file of plans (docs/builds.md), with its pictures: `calibration` gives ranges, or else some
that are taken from `evaluation`, which judges by the rest. A model without pictures, such as one with random weights,
is timed only. Recipes of a model run in turn, round after round, so that a machine that others slow down slows down all
of them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import record
from benchmarks.recipes.recipes import WAYS, Made
from benchmarks.record import Cell, Record
from build_engines.graph import export_graph
from build_engines.model import TimmModel, load_timm_model
from build_engines.pictures import choose_pictures, made_pictures
from build_engines.plan import Plan
from build_engines.planfile import read_plans
from build_engines.values import Pixels, Probabilities

BATCHES = (1, 16)
_RANGES = 64
"""Pictures that ranges follow from, where no plan says so."""
_ROUNDS = 9
_LEAST_SECONDS = 0.1
"""Of a round's runs of one recipe; at least one run."""


class Pictures:
    """What ranges follow from and what judges, for one model."""

    def __init__(self, plan: Plan, model: TimmModel) -> None:
        preprocessing = model.classifier.preprocessing
        chosen = choose_pictures(plan.calibration, plan.calibration_pictures, plan.evaluation)
        judging, ranges = chosen.evaluation, chosen.calibration
        if judging and not ranges:
            ranges = judging.choose(min(_RANGES, len(judging) // 2))
            judging = judging.without(ranges)
        self.judging = judging.pixels(preprocessing) if judging else None
        self.targets = judging.targets(model.labels).indices if judging else None
        self.ranges = ranges.pixels(preprocessing) if ranges else made_pictures(_RANGES, preprocessing)


def cells_of(plan: Plan) -> Iterator[Cell]:
    """Every recipe of one model."""
    model = load_timm_model(plan)
    pictures = Pictures(plan, model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fp32").mkdir()
        graph = export_graph(model.classifier, folder / "fp32")
        made: dict[str, Made] = {}
        for number, (title, way) in enumerate(WAYS.items()):
            if reason := way.why_not():
                yield Cell({"model": plan.base_name, "recipe": title}, skipped=reason)
                continue
            work = folder / str(number)
            work.mkdir()
            try:
                made[title] = way.make(graph, pictures.ranges, work)
            except Exception as error:  # noqa: BLE001  (a quantiser that cannot do a model is a row)
                yield Cell({"model": plan.base_name, "recipe": title}, skipped=f"it failed: {str(error)[:200]}")
        judged = _judged(made, pictures)
        shown = pictures.ranges if pictures.judging is None else pictures.judging
        for batch in BATCHES:
            images = np.resize(shown, (batch, *shown.shape[1:]))
            for title, samples in _in_turn(made, images).items():
                facts = {"megabytes": made[title].megabytes, **judged[title]}
                yield Cell({"model": plan.base_name, "recipe": title, "batch": batch}, samples, facts)


def _judged(made: dict[str, Made], pictures: Pictures) -> dict[str, dict[str, float]]:
    """Top-1 in percent and the share of FP32's top-1 that is kept, where there are pictures."""
    if pictures.judging is None:
        return {title: {} for title in made}
    firsts = {title: _answers(each, pictures.judging).argmax(1) for title, each in made.items()}
    found = {}
    for title, first in firsts.items():
        found[title] = {"same": 100 * float((first == firsts["FP32"]).mean()), "pictures": len(first)}
        if pictures.targets is not None:
            found[title]["top1"] = 100 * float((first == pictures.targets).mean())
    return found


def _answers(made: Made, pixels: Pixels) -> Probabilities:
    starts = range(0, len(pixels), max(BATCHES))
    return np.concatenate([made.run(pixels[start : start + max(BATCHES)]) for start in starts])


def _in_turn(made: dict[str, Made], images: Pixels) -> dict[str, tuple[float, ...]]:
    """Milliseconds of a run: the least of each round, after one that is not counted."""
    samples: dict[str, list[float]] = {title: [] for title in made}
    for number in range(_ROUNDS + 1):
        for title, each in made.items():
            best, end = float("inf"), time.perf_counter() + _LEAST_SECONDS
            while best == float("inf") or time.perf_counter() < end:
                begun = time.perf_counter()
                each.run(images)
                best = min(best, time.perf_counter() - begun)
            if number:
                samples[title].append(1000 * best)
    return {title: tuple(each) for title, each in samples.items()}


def page(found: Record) -> str:
    """As Markdown."""
    parts = ["# Recipes for INT8 and BF16 on a CPU", record.words(found)]
    for model in dict.fromkeys(cell.key["model"] for cell in found.cells):
        cells = [cell for cell in found.cells if cell.key["model"] == model]
        parts += [f"## {model}", record.table(_HEADS, [_row(cells, title) for title in _titles(cells)])]
        judged = next((int(cell.facts["pictures"]) for cell in cells if "pictures" in cell.facts), 0)
        if judged:
            parts.append(f"Judged by {judged} pictures; the ranges are of others.")
        if left := [f"- {cell.key['recipe']}: {cell.skipped}" for cell in cells if cell.skipped]:
            parts += ["Not run:", "\n".join(left)]
    parts.append("*Times FP32*: the rate over that of FP32 in ONNX Runtime, the median of rounds run in turn.")
    return "\n\n".join(parts)


_HEADS = (
    "recipe",
    *(f"ms at {batch}" for batch in BATCHES),
    *(f"times FP32 at {batch}" for batch in BATCHES),
    "MB",
    "top-1",
    "same top-1 as FP32",
)


def _titles(cells: list[Cell]) -> list[str]:
    return [str(title) for title in dict.fromkeys(cell.key["recipe"] for cell in cells if cell.samples)]


def _row(cells: list[Cell], title: str) -> tuple[str, ...]:
    chosen = {cell.key["batch"]: cell for cell in cells if cell.samples and cell.key["recipe"] == title}
    plain = {cell.key["batch"]: cell for cell in cells if cell.samples and cell.key["recipe"] == "FP32"}
    facts = chosen[BATCHES[0]].facts
    return (
        title,
        *(f"{chosen[batch].percentile(50):.2f}" for batch in BATCHES),
        *(f"{_gain(plain[batch], chosen[batch]):.2f}" for batch in BATCHES),
        f"{float(facts['megabytes']):.1f}",
        *(f"{float(facts[name]):.2f} %" if name in facts else "" for name in ("top1", "same")),
    )


def _gain(plain: Cell, cell: Cell) -> float:
    """The median over the rounds of FP32's time by this one's."""
    return float(np.median([mine / its for mine, its in zip(plain.samples, cell.samples, strict=True)]))


def draw(found: Record, path: Path) -> None:
    """The rate over that of FP32, a bar for each recipe, a panel for each model."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (takes a second to import)

    models = list(dict.fromkeys(cell.key["model"] for cell in found.cells if cell.samples))
    figure = Figure(figsize=(4.2 * len(models) + 2, 4), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        cells = [cell for cell in found.cells if cell.key["model"] == model and cell.samples]
        titles = _titles(cells)
        for offset, batch in zip((-0.2, 0.2), BATCHES, strict=True):
            of = {cell.key["recipe"]: cell for cell in cells if cell.key["batch"] == batch}
            gains = [_gain(of["FP32"], of[title]) for title in titles]
            axes.barh([place + offset for place in range(len(titles))], gains, height=0.38, label=f"batch {batch}")
        axes.axvline(1, color="0.3", linewidth=0.8)
        axes.set_yticks(range(len(titles)), titles)
        axes.set_title(str(model), fontsize=9)
        axes.set_xlabel("times the rate of FP32")
        axes.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    panels[-1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plans", type=Path, metavar="PLANS.toml")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="default: %(default)s")
    options = parser.parse_args()
    cells: list[Cell] = []
    for plan in read_plans(options.plans):
        Console(stderr=True).print(plan.base_name)
        cells += cells_of(plan)
    found = record.recorded("recipes", "ms", cells, {})
    record.publish(found, options.out, page(found), partial(draw, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
