"""What a run came to, as a page, pictures and numbers: report.md, curves.png, confusions.png, worst.png."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from training.dataset import Split
from training.findings import swapped

_WORST = 24
_COLUMNS = 8
_NAMED = 40
"""Classes up to which a table and a drawing name each."""
History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Judged:
    """What a result answered on a split."""

    word: str
    split: Split
    logits: npt.NDArray[np.float32]
    """`[pictures, classes]`."""
    classes: Sequence[str]

    @cached_property
    def confusions(self) -> npt.NDArray[np.int64]:
        """How many pictures of each class were answered as each: `[classes, classes]`, shown by answered."""
        found = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(found, (self.split.targets, self.logits.argmax(axis=1)), 1)
        return found

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Accuracy in percent, by class too, and confusions."""
        totals, rights = self.confusions.sum(axis=1), self.confusions.diagonal()
        by_class = {
            name: round(100 * int(right) / int(total), 2)
            for name, right, total in zip(self.classes, rights, totals, strict=True)
            if total
        }
        five = np.argsort(-self.logits, axis=1)[:, :5]
        return {
            "split": self.word,
            "pictures": len(self.split),
            "top1": round(100 * int(rights.sum()) / len(self.split), 4),
            "top5": round(100 * float((five == self.split.targets[:, None]).any(axis=1).mean()), 4),
            "mean_of_classes": round(float(np.mean(list(by_class.values()))), 2),
            "by_class": by_class,
            "confusions": self.confusions.tolist(),
            "hints": list(swapped(self.confusions, self.classes)),
        }


def write(folder: Path, history: History, judged: Judged | None, head: Sequence[str]) -> None:
    """Write the report into `folder`; `head` is what is said first, a line each."""
    lines = [f"# {folder.resolve().name}", "", *(f"- {line}" for line in head), ""]
    if len(history) > 1:
        _curves(history).savefig(folder / "curves.png", dpi=120)
        lines += ["![Loss and accuracy by epoch](curves.png)", ""]
    if judged:
        lines += [*_told(judged)]
        _confusions(judged.confusions, judged.classes).savefig(folder / "confusions.png", dpi=120)
        _worst(judged).savefig(folder / "worst.png", dpi=120)
        lines += ["", "![Shown by answered](confusions.png)", "", "![Most certain mistakes](worst.png)", ""]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _told(judged: Judged) -> Iterator[str]:
    metrics, classes = judged.metrics, judged.classes
    yield f"On {judged.word}, {len(judged.split)} pictures:"
    yield f"top-1 {metrics['top1']:.2f} %, top-5 {metrics['top5']:.2f} %,"
    yield f"mean of the classes {metrics['mean_of_classes']:.2f} %."
    yield ""
    for hint in metrics["hints"]:
        yield f"**{hint}**"
        yield ""
    yield "| class | pictures | right | most often taken for |"
    yield "|---|---|---|---|"
    order = sorted(metrics["by_class"], key=lambda name: metrics["by_class"][name])
    for name in order[:_NAMED]:
        row = judged.confusions[classes.index(name)].copy()
        total = int(row.sum())
        row[classes.index(name)] = 0
        wrong = f"{classes[int(row.argmax())]} ({int(row.max())})" if row.any() else ""
        yield f"| {name} | {total} | {metrics['by_class'][name]:.2f} % | {wrong} |"


def _curves(history: History) -> Figure:
    figure = Figure(figsize=(8, 4), layout="constrained")
    loss, right = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    loss.plot(epochs, [record["loss"] for record in history])
    loss.set(xlabel="epoch", ylabel="training loss")
    for name in ("val_top1", "test_top1"):
        if name in history[0]:
            right.plot(epochs, [record[name] for record in history], label=name.partition("_")[0])
            right.legend()
    right.set(xlabel="epoch", ylabel="top-1, %")
    for axes in (loss, right):
        axes.grid(alpha=0.3)
    return figure


def _confusions(confusions: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    side = min(12.0, 3 + 0.3 * len(classes))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = confusions / np.maximum(1, confusions.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    if len(classes) <= _NAMED:
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="answered", ylabel="shown")
    figure.colorbar(image, label="share of those shown")
    return figure


def _worst(judged: Judged) -> Figure:
    """A contact sheet of the pictures that are answered wrongly with the highest probability."""
    logits, split, classes = judged.logits, judged.split, judged.classes
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = scaled / scaled.sum(axis=1, keepdims=True)
    answered = shares.argmax(axis=1)
    (wrong,) = np.nonzero(answered != split.targets)
    wrong = wrong[np.argsort(-shares[wrong, answered[wrong]])][:_WORST]
    rows = max(1, -(-len(wrong) // _COLUMNS))
    figure = Figure(figsize=(1.6 * _COLUMNS, 2.1 * rows), layout="constrained")
    for axes in figure.subplots(rows, _COLUMNS, squeeze=False).flat:
        axes.axis("off")
    for axes, place in zip(figure.axes, wrong.tolist(), strict=False):
        axes.imshow(split.images[place])
        said = f"{classes[answered[place]]} {100 * shares[place, answered[place]]:.0f} %"
        axes.set_title(f"{said}\nis {classes[split.targets[place]]}\n{split.names[place][-18:]}", fontsize=7)
    return figure
