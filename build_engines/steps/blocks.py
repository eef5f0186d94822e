"""The step `blocks`: a quantised graph with as many blocks in high precision as it takes to pass the gate's accuracy.

It is chosen by the calibration's pictures: chosen by those that judge it, it would look better than it is.
"""

import json
from pathlib import Path

from build_engines.graph import keep_blocks, open_graph
from build_engines.judge import GATE, compare, judge
from build_engines.pictures import Targets
from build_engines.results import Table
from build_engines.steps.sessions import open_as_served
from build_engines.values import Compiler, Graph, Pixels, answers

_FILE = "sensitivity.json"


def mix(  # noqa: PLR0913, PLR0917 (two graphs, and what the choice is made by)
    fp32: Graph, quantised: Graph, compiler: Compiler, pixels: Pixels, targets: Targets, folder: Path
) -> None:
    """Write the graph into `folder`, and what each block costs, where `quantised` does not pass as it is.

    `targets` are the classes of `pixels`, as far as they are known.
    """
    wanted = answers(open_graph(fp32.path), pixels)
    known = targets.agreeing(wanted).indices

    def passes(graph: Graph) -> bool:
        found = answers(open_as_served(graph, compiler), pixels)
        return judge(compare(wanted, found, known), None, GATE).passed

    rows = keep_blocks(fp32, quantised, passes, pixels, folder)
    (folder / _FILE).write_text(json.dumps(rows), encoding="utf-8")


def load_sensitivity(folder: Path) -> Table | None:
    """What each block costs, where that was measured."""
    file = folder / _FILE
    rows = json.loads(file.read_text("utf-8")) if file.exists() else []
    return Table(tuple(rows[0]), tuple(tuple(row) for row in rows[1:])) if rows else None
