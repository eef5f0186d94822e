"""A build, from plan to published entry: the steps in order, each of which takes values and gives values."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from build_engines.export import OPSET, check, export
from build_engines.graph import Graph
from build_engines.plan import Plan
from build_engines.provenance import provenance
from build_engines.repository import Published, check_ours, publish, workspace
from build_engines.source import load_source
from build_engines.verify import Parity, verify
from contract.config import Scheduling
from contract.spec import Entry


class Progress(Protocol):
    """Who is told how a build goes."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Surrounds the step `name`."""


@dataclass(frozen=True)
class Built:
    """What came of a build."""

    entry: Entry
    published: Published
    graph: Graph
    parity: Parity


def build(plan: Plan, progress: Progress, *, reached: Callable[[str], None] = lambda _: None) -> Built:
    """Carry out `plan`.

    Raises:
        BuildError: the plan was refused, or a step failed; the repository is as it was.
    """
    with workspace(plan.repository) as work:
        check_ours(plan.repository, plan.entry_name)
        with progress.step("source"):
            source = load_source(plan)
        with progress.step("export"):
            graph = export(source.classifier, work)
        with progress.step("check"):
            check(graph, source.classifier)
        with progress.step("verify"):
            parity = verify(graph.path, source.classifier, plan.max_batch_size)
        entry = Entry(
            name=plan.entry_name,
            preprocessing=source.classifier.preprocessing,
            labels=source.labels,
            max_batch_size=plan.max_batch_size,
            build=provenance(
                plan.notes, source.provenance, {"opset": str(OPSET), "onnx_sha256": graph.sha256}, parity.provenance
            ),
        )
        with progress.step("publish"):
            published = publish(plan.repository, entry, graph.files, Scheduling(), reached=reached)
    return Built(entry, published, graph, parity)
