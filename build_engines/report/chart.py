"""One picture of a build's variants: accuracy and latency where speed was measured, accuracy and sizes where not.

Knows no report: what is drawn is handed in as numbers and words.
"""

# ruff: noqa: PLC0415 (matplotlib takes a second to import; `build-engines --help` does not wait for it)

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from build_engines.values import Compiler, Precision

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

_COLOURS = {
    Precision.FP32: "#4a5568",
    Precision.BF16: "#805ad5",
    Precision.FP16: "#2b6cb0",
    Precision.INT8: "#c05621",
    Precision.FP8: "#2f855a",
}
_MARKERS = {Compiler.NONE: "o", Compiler.TENSORRT: "s", Compiler.RTX: "D"}
_LINES = {Compiler.NONE: "-", Compiler.TENSORRT: "--", Compiler.RTX: ":"}
_GREY = "#718096"
_NOTE_WIDTH = 15
"""Characters to an inch of the notes."""
_SIDES = (
    *(("left", "center", 1, 0), ("right", "center", -1, 0), ("center", "bottom", 0, 1), ("center", "top", 0, -1)),
    *(("left", "bottom", 1, 1), ("right", "bottom", -1, 1), ("left", "top", 1, -1), ("right", "top", -1, -1)),
)
_AROUND = tuple((across, up, x * far, y * far) for far in (10, 20, 32, 46, 62) for across, up, x, y in _SIDES)
_ALONG = tuple(
    (across, up, x, y) for up, y in (("bottom", 3), ("top", -3)) for across, x in (("right", -4), ("left", 4))
)
"""Where a label may stand, the best place first: its alignment, and points from what it belongs to."""
_FAR = 20
"""Points beyond which a line leads to what a label belongs to."""


@dataclass(frozen=True)
class Plot:
    """What the chart shows of a variant; what is empty or None was not measured."""

    precision: Precision
    compiler: Compiler
    label: str
    refused: bool
    accuracy: float | None
    """Percent, of whatever the axis says."""
    latencies: tuple[tuple[int, float], ...] = ()
    """Batch sizes, and the milliseconds that half of the runs took at most."""
    sizes: tuple[tuple[str, int], ...] = ()
    """What of it ("graph", "engine"), and its bytes."""

    @property
    def name(self) -> str:
        """The label, and whether it was refused."""
        return f"{self.label} (refused)" if self.refused else self.label

    @property
    def fill(self) -> str:
        """The inside of its marker: a refused one is hollow."""
        return "white" if self.refused else _COLOURS[self.precision]


@dataclass(frozen=True)
class Chart:
    """What the chart shows of a build."""

    title: str
    measure: str
    """What `Plot.accuracy` is: "top-1", "agreement with FP32"."""
    limit: float | None
    """Percent: the gate's limit, where it is the same for all variants."""
    variants: tuple[Plot, ...]


def draw(chart: Chart, path: Path) -> bool:
    """Write the chart as a PNG to `path`; False, and nothing written, where there is nothing to draw.

    Raises:
        OSError: it cannot be written.
    """
    figure = compose(chart)
    if figure is None:
        return False
    figure.savefig(path, format="png")
    return True


def compose(chart: Chart) -> "Figure | None":
    """The figure: a panel of accuracy and one of latency, or of sizes; None where there is none of them.

    Made without pyplot, whose list of figures is the whole process's.
    """
    from matplotlib.figure import Figure

    timed = [each for each in chart.variants if each.latencies]
    rated = [each for each in chart.variants if each.accuracy is not None]
    sized = [each for each in chart.variants if each.sizes]
    both = [each for each in timed if each in rated]
    panels = [bool(rated), bool(timed or sized)]
    if not any(panels):
        return None
    width = 12.0 if all(panels) else 7.0
    figure = Figure(figsize=(width, 4.8), dpi=150, layout="constrained")
    axes = list(figure.subplots(1, sum(panels), squeeze=False)[0])
    figure.suptitle(chart.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    notes = textwrap.fill(_notes(chart, both), int(_NOTE_WIDTH * width))
    figure.supxlabel(notes, x=0.01, ha="left", fontsize=8, color=_GREY)
    if both:
        _accuracy_by_latency(axes[0], both, chart)
    elif rated:
        _accuracy_bars(axes[0], rated, chart)
    if timed:
        _latency_by_batch(axes[-1], timed)
    elif sized:
        _size_bars(axes[-1], sized)
    if both:
        figure.draw_without_rendering()  # Settles the layout, without which no label can be placed.
        _label(axes[0], both, chart.limit)
    return figure


def _accuracy_by_latency(axes: "Axes", variants: Sequence[Plot], chart: Chart) -> None:
    points = [(each, *_point(each)) for each in variants]
    for each, latency, accuracy in points:
        axes.plot(
            latency,
            accuracy,
            _MARKERS[each.compiler],
            color=_COLOURS[each.precision],
            markerfacecolor=each.fill,
            markersize=9,
            markeredgewidth=1.8,
            zorder=3,
        )
    values = [accuracy for _, _, accuracy in points]
    if chart.limit is not None:
        values.append(chart.limit)
        axes.axhline(chart.limit, color=_GREY, linewidth=1, linestyle=(0, (4, 4)), zorder=1)
    margin = max(0.15 * (max(values) - min(values)), 0.3)
    axes.set_ylim(min(values) - margin, min(max(values) + margin, 100 + margin / 2))
    latencies = [latency for _, latency, _ in points]
    if max(latencies) > 10 * min(latencies):
        _logarithmic(axes, "x")
        axes.set_xlim(min(latencies) / 1.8, max(latencies) * 1.8)
    else:
        axes.set_xlim(0, 1.5 * max(latencies))
    _dress(axes, f"Latency at batch {variants[0].latencies[0][0]}, median (ms)", _axis(chart))


def _label(axes: "Axes", variants: Sequence[Plot], limit: float | None) -> None:
    """Name the points and the limit, each where it covers no point and no other name, and stays inside the panel."""
    from matplotlib.transforms import Bbox

    taken = []
    for each in variants:
        x, y = axes.transData.transform(_point(each))
        taken.append(Bbox.from_extents(x - 18, y - 18, x + 18, y + 18))
    if limit is not None:
        left, right = axes.get_xlim()
        places = [(across, up, x, y, (right if across == "right" else left, limit)) for across, up, x, y in _ALONG]
        taken.append(_place(axes, "least that is allowed", _GREY, places, taken))
    for each in variants:
        places = [(*place, _point(each)) for place in _AROUND]
        taken.append(_place(axes, each.name, _COLOURS[each.precision], places, taken))


def _place(
    axes: "Axes",
    text: str,
    colour: str,
    places: Sequence[tuple[str, str, int, int, tuple[float, float]]],
    taken: "Sequence[Bbox]",
) -> "Bbox":
    """Write `text` at the first of `places` that is free, or where it covers least; gives its box in pixels."""
    frame = axes.get_window_extent()
    label = axes.annotate(text, (0, 0), xytext=(0, 0), textcoords="offset points", fontsize=9, color=colour)
    label.set_in_layout(False)

    def box(place: tuple[str, str, int, int, tuple[float, float]]) -> "Bbox":
        across, up, x, y, label.xy = place
        label.set(ha=across, va=up, position=(x, y))
        return label.get_window_extent()

    def in_the_way(place: tuple[str, str, int, int, tuple[float, float]]) -> tuple[bool, int]:
        own = box(place)
        inside = frame.x0 < own.x0 and own.x1 < frame.x1 and frame.y0 < own.y0 and own.y1 < frame.y1
        return not inside, own.count_overlaps(taken)

    best = min(places, key=in_the_way)
    _, _, x, y, point = best
    if max(abs(x), abs(y)) > _FAR:
        line = {"arrowstyle": "-", "color": _GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5}
        axes.annotate("", point, xytext=(x, y), textcoords="offset points", arrowprops=line).set_in_layout(False)
    return box(best)


def _point(each: Plot) -> tuple[float, float]:
    """Its latency at the smallest batch, and its accuracy."""
    return each.latencies[0][1], each.accuracy or 0.0


def _axis(chart: Chart) -> str:
    return f"{chart.measure[0].upper()}{chart.measure[1:]} (%)"


def _latency_by_batch(axes: "Axes", variants: Sequence[Plot]) -> None:
    for each in sorted(variants, key=lambda each: -each.latencies[-1][1]):
        axes.plot(
            [batch for batch, _ in each.latencies],
            [latency for _, latency in each.latencies],
            marker=_MARKERS[each.compiler],
            linestyle=_LINES[each.compiler],
            color=_COLOURS[each.precision],
            markerfacecolor=each.fill,
            linewidth=1.6,
            markersize=6,
            alpha=0.7 if each.refused else 1.0,
            label=each.name,
        )
    batches = sorted({batch for each in variants for batch, _ in each.latencies})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.minorticks_off()
    _logarithmic(axes, "y")
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _dress(axes, "Batch size (pictures)", "Latency, median (ms)")


def _accuracy_bars(axes: "Axes", variants: Sequence[Plot], chart: Chart) -> None:
    _bars(axes, [(each, each.name, each.accuracy or 0.0, f"{each.accuracy:.2f} %") for each in variants])
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    if chart.limit is not None:
        axes.axvline(chart.limit, color=_GREY, linewidth=1, linestyle=(0, (4, 4)), zorder=4)
    _dress(axes, _axis(chart), "")


def _size_bars(axes: "Axes", variants: Sequence[Plot]) -> None:
    bars = [
        (each, f"{each.label}, {what}", size / 1e6, f"{size / 1e6:.1f} MB")
        for each in variants
        for what, size in each.sizes
    ]
    _bars(axes, bars)
    axes.set_xlim(0, 1.2 * max(size for _, _, size, _ in bars))
    _dress(axes, "Size on disk (MB)", "")


def _bars(axes: "Axes", bars: Sequence[tuple[Plot, str, float, str]]) -> None:
    """Horizontal bars, the first on top: of what, its name, its length, and that in words."""
    for place, (each, _, length, words) in enumerate(bars):
        axes.barh(place, length, height=0.6, color=each.fill, edgecolor=_COLOURS[each.precision], linewidth=1.4)
        axes.annotate(
            words, (length, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9, zorder=5
        )
    axes.set_yticks(range(len(bars)), [name for _, name, _, _ in bars])
    axes.set_ylim(max(len(bars), 3) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _notes(chart: Chart, placed: Sequence[Plot]) -> str:
    """What of the variants is not in the panels, or not in all of them."""
    timed = any(each.latencies for each in chart.variants)
    notes = []
    for each in chart.variants:
        accuracy = "not measured" if each.accuracy is None else f"{each.accuracy:.2f} %"
        if each.accuracy is None or (timed and each not in placed):
            speed = "" if each.latencies or not timed else ", speed not measured"
            notes.append(f"{each.name}: {chart.measure} {accuracy}{speed}.")
    if not timed:
        notes.append("Speed was not measured.")
    if any(each.refused for each in chart.variants):
        notes.append("Hollow: not published.")
    if not placed and chart.limit is not None:
        notes.append("Dashed: the least that is allowed.")
    return " ".join(notes)


def _dress(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _logarithmic(axes: "Axes", which: str) -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
