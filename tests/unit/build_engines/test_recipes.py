"""benchmarks/recipes, which needs the builder's environment: every recipe of one model, and the page of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.recipes.__main__ import BATCHES, Pictures, draw, page
from benchmarks.recipes.recipes import WAYS
from benchmarks.record import Cell, recorded
from build_engines.graph import export_graph, open_graph
from build_engines.model import TimmModel
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.values import Graph

LOOSE = 0.1
"""Of a probability: what 8 bits may change in a model of random weights. One that is wrong answers anything."""


@pytest.mark.parametrize("title", WAYS)
def test_every_recipe_that_is_here_answers_as_fp32_does(
    title: str, graph: Graph, source: TimmModel, tmp_path: Path
) -> None:
    if reason := WAYS[title].why_not():
        pytest.skip(reason)
    pictures = made_pictures(16, source.classifier.preprocessing)
    made = WAYS[title].make(graph, pictures, tmp_path)
    wanted = open_graph(graph.path).run(pictures[:3])
    assert np.abs(made.run(pictures[:3]) - wanted).max() < (LOOSE if title != "FP32" else 1e-6)
    weights = graph.size / 1e6
    # FP32's weights are there in eight bits, but for the head's, the embeddings' and the convolutions'.
    assert made.megabytes < 0.7 * weights if "INT8" in title else made.megabytes == pytest.approx(weights)


def test_ranges_are_not_of_the_pictures_that_judge(source: TimmModel, tmp_path: Path) -> None:
    for number, pixels in enumerate(made_pictures(10, source.classifier.preprocessing)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    plan = Plan("vit_nano_convstem_patch4_32", evaluation=tmp_path)
    pictures = Pictures(plan, source)
    assert pictures.judging is not None
    assert (len(pictures.ranges), len(pictures.judging)) == (5, 5)
    both = {each.tobytes() for each in np.concatenate([pictures.ranges, pictures.judging])}
    assert len(both) == 10


def found(model: str = "vit") -> list[Cell]:
    """FP32, and a recipe of three times its rate with one picture, and half of it with many."""
    times = {"FP32": {1: (12.0, 12.0, 18.0), 16: (100.0,) * 3}, "INT8": {1: (4.0, 4.0, 6.0), 16: (200.0,) * 3}}
    facts = {"megabytes": 8.0, "same": 98.5, "top1": 87.25}
    return [
        Cell({"model": model, "recipe": recipe, "batch": batch}, samples, facts)
        for batch in BATCHES
        for recipe, each in times.items()
        for batch_of, samples in each.items()
        if batch_of == batch
    ]


def test_the_page_compares_rounds_with_fp32s_of_the_same_round(tmp_path: Path) -> None:
    cells = [*found(), Cell({"model": "vit", "recipe": "INT8, dynamic"}, skipped="it failed: no product")]
    text = page(recorded("recipes", "ms", cells, {}))
    assert "| FP32 | 12.00 | 100.00 | 1.00 | 1.00 | 8.0 | 87.25 % | 98.50 % |" in text
    assert "| INT8 | 4.00 | 200.00 | 3.00 | 0.50 | 8.0 | 87.25 % | 98.50 % |" in text
    assert "- INT8, dynamic: it failed: no product" in text
    draw(recorded("recipes", "ms", [*cells, *found("cnn")], {}), tmp_path / "recipes.png")
    assert (tmp_path / "recipes.png").stat().st_size > 1000


def test_a_model_without_pictures_has_no_accuracy() -> None:
    bare = [replace(cell, facts={"megabytes": 8.0}) for cell in found()]
    assert "| INT8 | 4.00 | 200.00 | 3.00 | 0.50 | 8.0 |  |  |" in page(recorded("recipes", "ms", bare, {}))


def test_a_model_is_exported_once_for_all_recipes(source: TimmModel, tmp_path: Path) -> None:
    """Recipes change what they are given into a folder of their own."""
    graph = export_graph(source.classifier, tmp_path)
    before = graph.path.read_bytes()
    for number, way in enumerate(WAYS.values()):
        if not way.why_not():
            (tmp_path / str(number)).mkdir()
            way.make(graph, made_pictures(8, source.classifier.preprocessing), tmp_path / str(number))
    assert graph.path.read_bytes() == before
