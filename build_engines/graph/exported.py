"""The value that stands for an exported model from then on: its FP32 graph, and all that an entry tells of it.

Kept as a file beside the graph, so that a later build needs neither torch nor timm to go on from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from build_engines.graph.parity import Parity
from build_engines.values.graph import Graph, describe
from contract.config import MODEL_FILE
from contract.spec import Preprocessing

FACTS_FILE = "model.json"


@dataclass(frozen=True)
class Facts:
    """What is known of a model but its weights."""

    preprocessing: Preprocessing
    labels: tuple[str, ...]
    provenance: Mapping[str, str]
    parity: Parity


@dataclass(frozen=True)
class Exported:
    """A model that was exported and compared with torch."""

    graph: Graph
    facts: Facts


def save(facts: Facts, folder: Path) -> None:
    """Write `facts` beside the graph in `folder`."""
    (folder / FACTS_FILE).write_bytes(TypeAdapter(Facts).dump_json(facts, indent=1))


def load(folder: Path) -> Exported:
    """What `save` and the exporter left in `folder`."""
    facts = TypeAdapter(Facts).validate_json((folder / FACTS_FILE).read_bytes())
    return Exported(describe(folder / MODEL_FILE), facts)
