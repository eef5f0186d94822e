"""A PNG of an evaluation: how far confidence can be trusted, and what is taken for what."""

from collections import Counter
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrine.evaluation import Evaluation

_MOST_CLASSES = 25
"""Of the matrix; of more, those with the most pictures that are answered wrongly."""
_BLUE, _GREY = "#2a5a8c", "#8a8f98"


def draw(found: Evaluation, title: str, path: Path) -> None:
    """Write it.

    Raises:
        OSError: it cannot be written.
    """
    labels = _labels(found)
    side = max(4.2, 0.28 * len(labels) + 2)
    figure = Figure(figsize=(5.2 + side, max(4.6, side)), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, width_ratios=[4.6, side])
    _reliability(left, found)
    _confusion(right, found, labels)
    figure.savefig(path, format="png", dpi=110)


def _reliability(axes: Axes, found: Evaluation) -> None:
    width = 1 / len(found.bins)
    centres = [(number + 0.5) * width for number in range(len(found.bins))]
    pictures = [each.pictures for each in found.bins]
    axes.bar(centres, [each.accuracy for each in found.bins], 0.92 * width, color=_BLUE, label="accuracy")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="what confidence says")
    shares = [0.2 * count / max(1, *pictures) for count in pictures]
    axes.bar(centres, shares, 0.4 * width, color="#e3b23c", label=f"pictures (most: {max(pictures)})")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that is right", aspect="equal")
    axes.set_title(f"expected calibration error {found.calibration_error:.2%}", fontsize=10)
    axes.legend(loc="upper left", fontsize=8, frameon=False)


def _confusion(axes: Axes, found: Evaluation, labels: list[str]) -> None:
    of = Counter[str]()
    for (label, _), count in found.matrix.items():
        of[label] += count
    shares = [[found.matrix.get((row, column), 0) / max(1, of[row]) for column in labels] for row in labels]
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set(xlabel="answered", ylabel="class")
    axes.set_title(f"top-1 {found.top1.value:.2%} of {found.top1.of} pictures", fontsize=10)
    if len(labels) > _MOST_CLASSES // 2:
        return
    for row, line in enumerate(shares):
        for column, share in enumerate(line):
            if share >= 0.005:
                colour = "black" if share > 0.5 else "white"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)


def _labels(found: Evaluation) -> list[str]:
    every = list(dict.fromkeys([label for label, _ in found.matrix] + [other for _, other in found.matrix]))
    wrong = Counter[str]()
    for (label, answered), count in found.matrix.items():
        wrong[label] += count if label != answered else 0
    return every if len(every) <= _MOST_CLASSES else [label for label, _ in wrong.most_common(_MOST_CLASSES)]
