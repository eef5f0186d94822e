"""The step `companion`: the graph that says which patches a model's answers come from, compared with torch."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from build_engines.graph import Parity, export_rollout, measure_rollout
from build_engines.model import TimmModel, attentive, torch_answers
from build_engines.pictures import made_pictures
from build_engines.values import Graph, describe
from contract.config import MODEL_FILE

LARGEST = 8
"""Pictures in one batch of a companion: the attention of all tokens takes memory, and people look at one picture."""
_FILE = "companion.json"


@dataclass(frozen=True)
class Shape:
    """What is known of a companion besides its graph."""

    layers: int
    heads: int
    rows: int
    columns: int
    view: str
    """What the served model does besides, which is not explained."""
    parity: Parity
    """Of the probabilities."""
    furthest: float
    """The largest difference of a map from torch's."""


@dataclass(frozen=True)
class Companion:
    """A companion's graph, and what is known of it."""

    graph: Graph
    shape: Shape


def explain(name: str, model: TimmModel, discard: float, largest: int, folder: Path) -> None:
    """Write the companion of `model`, timm's `name`, into `folder`.

    Where nothing is done around the transformer, its probabilities are those of the model itself.

    Raises:
        RolloutUndefinedError: rollout has no meaning for this architecture.
        ExportError: torch cannot export it.
        ParityError: its maps are not those of torch, or its probabilities not those of the model.
    """
    source = attentive(name, model.classifier)
    graph = export_rollout(source, discard, folder)
    batches = [made_pictures(size, source.preprocessing) for size in sorted({1, min(2, largest), largest})]
    answer = None if source.view else partial(torch_answers, model.classifier)
    parity, furthest = measure_rollout(graph, source, discard, batches, answer)
    shape = Shape(source.layers, source.heads, source.rows, source.columns, source.view, parity, furthest)
    (folder / _FILE).write_bytes(TypeAdapter(Shape).dump_json(shape))


def load_companion(folder: Path) -> Companion:
    """What `explain` wrote."""
    return Companion(describe(folder / MODEL_FILE), TypeAdapter(Shape).validate_json((folder / _FILE).read_bytes()))
