"""The chart: nothing that was measured is missing, nothing covers anything else."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from build_engines.report.chart import Chart, Plot, compose, draw
from build_engines.values import Compiler, Precision


def drawn(
    precision: Precision,
    accuracy: float | None = 85.0,
    first: float | None = 8.0,
    *,
    refused: bool = False,
    compiler: Compiler = Compiler.NONE,
    sizes: tuple[tuple[str, int], ...] = (("graph", 3_000_000),),
) -> Plot:
    label = f"{precision.value.upper()}{'' if compiler is Compiler.NONE else ' engine'}"
    latencies = () if first is None else tuple((batch, first * batch) for batch in (1, 2, 4, 8))
    return Plot(precision, compiler, label, refused, accuracy, latencies, sizes)


def chart(*variants: Plot, limit: float | None = 84.0) -> Chart:
    return Chart("pets", "top-1", limit, variants)


def figure(of: Chart) -> Figure:
    composed = compose(of)
    assert composed is not None
    return composed


def texts(of: Any) -> list[str]:
    return [text.get_text() for text in of.texts]


def notes(of: Figure) -> str:
    text = of._supxlabel  # type: ignore[attr-defined]
    return " ".join(text.get_text().split())


FP32 = drawn(Precision.FP32)
FP16 = drawn(Precision.FP16, 84.99, 8.1, refused=True)
INT8 = drawn(Precision.INT8, 84.6, 5.0)
UNTIMED = drawn(Precision.INT8, 84.7, None, compiler=Compiler.RTX, sizes=(("graph", 1_700_000), ("engine", 2_200_000)))


def test_measured_variants_are_points_and_lines() -> None:
    left, right = figure(chart(FP32, FP16, INT8)).axes
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in left.lines if line.get_marker() == "o"]  # type: ignore[index]
    assert points == [(8.0, 85.0), (8.1, 84.99), (5.0, 84.6)]
    assert left.get_xlabel() == "Latency at batch 1, median (ms)"
    assert left.get_ylabel() == "Top-1 (%)"
    assert texts(left) == ["least that is allowed", "FP32", "FP16 (refused)", "INT8"]
    lines = {line.get_label(): list(line.get_ydata()) for line in right.lines}  # type: ignore[arg-type]
    assert lines == {"FP32": [8, 16, 32, 64], "FP16 (refused)": [8.1, 16.2, 32.4, 64.8], "INT8": [5, 10, 20, 40]}
    assert right.get_xscale() == "log"
    assert [label.get_text() for label in right.get_xticklabels()] == ["1", "2", "4", "8"]


def test_a_refused_variant_is_hollow_and_says_so() -> None:
    for axes in figure(chart(FP32, FP16)).axes:
        markers = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
        assert markers.count("white") == 1
    assert "Hollow: not published." in notes(figure(chart(FP32, FP16)))
    assert notes(figure(chart(FP32, INT8))) == ""


def test_what_has_no_speed_stands_below_with_its_accuracy() -> None:
    assert notes(figure(chart(FP32, UNTIMED))) == "INT8 engine: top-1 84.70 %, speed not measured."
    assert notes(figure(chart(FP32, drawn(Precision.FP8, None, None)))).startswith("FP8: top-1 not measured, speed not")


def test_without_speed_there_are_bars_of_accuracy_and_sizes() -> None:
    composed = figure(chart(drawn(Precision.FP32, 85.0, None), UNTIMED))
    left, right = composed.axes
    assert texts(left) == ["85.00 %", "84.70 %"]
    assert left.get_xlim()[0] == 0
    assert texts(right) == ["3.0 MB", "1.7 MB", "2.2 MB"]
    assert [label.get_text() for label in right.get_yticklabels()] == [
        "FP32, graph",
        "INT8 engine, graph",
        "INT8 engine, engine",
    ]
    assert "Speed was not measured." in notes(composed)


@pytest.mark.parametrize(
    ("variants", "panels"),
    [
        ((drawn(Precision.FP32, None),), ["Batch size (pictures)"]),
        ((drawn(Precision.FP32, None, None),), ["Size on disk (MB)"]),
        ((drawn(Precision.FP32, 85.0, None, sizes=()),), ["Top-1 (%)"]),
        ((drawn(Precision.FP32, None), UNTIMED), ["Top-1 (%)", "Batch size (pictures)"]),
    ],
)
def test_no_panel_is_empty(variants: tuple[Plot, ...], panels: list[str]) -> None:
    axes = figure(chart(*variants)).axes
    assert [each.get_xlabel() for each in axes] == panels
    assert all(each.has_data() for each in axes)


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    assert not draw(chart(drawn(Precision.FP8, None, None, sizes=())), path)
    assert not path.exists()


CROWDED = (
    *(drawn(precision, 85.0, 8.0 + index / 10) for index, precision in enumerate(Precision)),
    *(
        drawn(precision, 84.9, 0.5 + index / 50, compiler=Compiler.TENSORRT, refused=True)
        for index, precision in enumerate(Precision)
    ),
)


@pytest.mark.parametrize(
    "variants",
    [CROWDED, (FP32, FP16), (FP32, FP32, FP32, FP32), (drawn(Precision.FP32, 100.0), drawn(Precision.INT8, 12.0, 4.0))],
)
@pytest.mark.parametrize("limit", [84.0, 84.95, 98.0])
def test_labels_cover_neither_points_nor_each_other(variants: tuple[Plot, ...], limit: float) -> None:
    axes = figure(chart(*variants, limit=limit)).axes[0]
    frame = axes.get_window_extent()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == len(variants) + 1
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    for each in variants:
        point = axes.transData.transform((each.latencies[0][1], each.accuracy or 0))
        assert not any(box.contains(*point) for box in boxes)
        assert frame.contains(*point)
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes)


def test_nothing_leaves_the_picture() -> None:
    for variants in (CROWDED, (FP32, UNTIMED), (drawn(Precision.FP32, 85.0, None), UNTIMED)):
        composed = figure(chart(*variants))
        composed.draw_without_rendering()
        inside = composed.bbox.padded(1)
        for axes in composed.axes:
            tight = axes.get_tightbbox()
            assert tight is not None
            assert inside.contains(tight.x0, tight.y0)
            assert inside.contains(tight.x1, tight.y1)


def test_it_is_a_png_and_the_same_each_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert draw(chart(FP32, FP16, INT8, UNTIMED), one)
    assert draw(chart(FP32, FP16, INT8, UNTIMED), other)
    assert one.read_bytes() == other.read_bytes()
    with Image.open(one) as image:
        assert (image.format, image.size) == ("PNG", (1800, 720))
