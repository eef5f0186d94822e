"""The step `verify`: accuracy and speed of a variant, with what it consists of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from build_engines.engine import EngineSession, load_compiler
from build_engines.errors import InvalidOutputError
from build_engines.judge import Course, Race, Timing, check_sizes, compare, race, time_alone
from build_engines.results import Measured, Table
from build_engines.steps.sessions import Files, open_as_served, open_session
from build_engines.values import Classes, Compiler, Graph, Pixels, Precision, Probabilities, answers, sha256
from contract.config import graph_sizes

_FILE = "measured.json"
_TOLERANCE = 0.05
"""Of a probability, between an engine and its graph: wide, as this only finds an engine that is wrong."""
_NO_HIGHER = "there is no higher precision to compare with"
_NO_GPU = "no GPU here runs the engine, so it was not run; the accuracy is its graph's, in ONNX Runtime"


@dataclass(frozen=True)
class Task:
    """What a variant is measured on, and against what."""

    pixels: Pixels
    reference: Probabilities | None
    """What the model answers to them in torch; None where only speed is measured."""
    targets: Classes | None
    """What they show, where that is known."""
    largest: int
    """The largest batch."""
    batches: tuple[int, ...]
    """The sizes that it is timed at; one that is there twice counts twice."""
    compiler: Compiler
    against: Precision | None = None
    baseline: Files | None = None
    """The variant at the precision `against`."""


def measure(files: Files, task: Task, parity: Mapping[str, str], sensitivity: Table | None, folder: Path) -> None:
    """Measure the variant of `files`, and write what was found into `folder`.

    `parity` and `sensitivity` are what earlier steps found of its graph.
    """
    session = open_session(files, task.compiler)
    runs = files.engine is None or isinstance(session, EngineSession)
    if isinstance(session, EngineSession):
        _as_served(session, task)
        if task.reference is None:
            _as_the_graph(session, files.graph, task)
    accuracy = None
    if task.reference is not None:
        accuracy = compare(task.reference, answers(session, task.pixels, min(32, task.largest)), task.targets)
    course = Course(task.pixels, task.batches)
    contest: Race | None = None
    timings: tuple[Timing, ...] = ()
    if runs and task.against and task.baseline:
        rival = open_session(task.baseline, task.compiler)
        if isinstance(rival, EngineSession):
            rival.capture(graph_sizes(task.largest))
        contest = race(session, rival, course, against=task.against, runtime=session.runtime)
    elif runs:
        timings = time_alone(session, course)
    measured = Measured(
        runtime=session.runtime if runs else load_compiler(task.compiler).words,
        graph_size=files.graph.size,
        engine_size=files.served[0].stat().st_size if files.engine else None,
        files={file.name: sha256((file,)) for file in files.served},
        parity=parity,
        accuracy=accuracy,
        accuracy_runtime=session.runtime if accuracy else "",
        race=contest,
        timings=timings,
        no_race="" if contest else _NO_HIGHER if runs else _NO_GPU,
        sensitivity=sensitivity,
    )
    (folder / _FILE).write_bytes(TypeAdapter(Measured).dump_json(measured))


def _as_served(session: EngineSession, task: Task) -> None:
    """Capture the graphs that Triton will, and compare what they answer with what is answered without them."""
    images = task.pixels[np.arange(task.largest) % len(task.pixels)]
    wanted = session.run(images)
    session.capture(graph_sizes(task.largest))
    check_sizes(session, images, wanted)


def _as_the_graph(session: EngineSession, graph: Graph, task: Task) -> None:
    """Demand that an engine answers what its graph answers, where no pictures are there to judge it by.

    Raises:
        InvalidOutputError: it does not.
    """
    images = task.pixels[: min(32, task.largest)]
    wanted = answers(open_as_served(graph, task.compiler), images, len(images))
    difference = float(np.abs(answers(session, images, len(images)) - wanted).max())
    if not difference <= _TOLERANCE:
        raise InvalidOutputError(
            f"{session.runtime} answers otherwise than the graph that its engine was made of: probabilities differ by "
            f"up to {difference:.1e}, {_TOLERANCE:.0e} is allowed. Give --evaluation to see what that costs, and "
            "report the fault to NVIDIA"
        )


def load_measured(folder: Path) -> Measured:
    """What `measure` wrote."""
    return TypeAdapter(Measured).validate_json((folder / _FILE).read_bytes())
