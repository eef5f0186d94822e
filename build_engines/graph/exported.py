"""What stands for a model once it is exported: its FP32 graph, and the facts that an entry tells of it.

The facts are a file beside the graph, so that a later build goes on without torch and timm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from build_engines.graph.parity import Parity
from build_engines.values import Graph, describe
from contract.config import MODEL_FILE
from contract.spec import Preprocessing

FACTS_FILE = "model.json"


@dataclass(frozen=True)
class Facts:
    """All that is known of a model except its weights."""

    preprocessing: Preprocessing
    labels: tuple[str, ...]
    provenance: Mapping[str, str]
    parity: Parity


@dataclass(frozen=True)
class Exported:
    """A model that was exported and compared with torch."""

    graph: Graph
    facts: Facts


def save_facts(facts: Facts, folder: Path) -> None:
    """Write `facts` beside the graph in `folder`."""
    (folder / FACTS_FILE).write_bytes(TypeAdapter(Facts).dump_json(facts, indent=1))


def load_exported(folder: Path) -> Exported:
    """What `save_facts` and the exporter left in `folder`."""
    facts = TypeAdapter(Facts).validate_json((folder / FACTS_FILE).read_bytes())
    return Exported(describe(folder / MODEL_FILE), facts)
