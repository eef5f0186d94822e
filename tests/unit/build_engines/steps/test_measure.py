"""What is measured of an engine, by a stand-in for its session: no GPU is needed to see a wrong answer."""

from pathlib import Path

import numpy as np
import pytest

from build_engines.engine import EngineSession
from build_engines.errors import InvalidOutputError
from build_engines.graph import open_graph
from build_engines.pictures import made_pictures
from build_engines.steps import measure as measuring
from build_engines.steps.measure import Task, load_measured, measure
from build_engines.steps.sessions import Files
from build_engines.values import Compiler, Graph, Pixels, Probabilities, answers
from contract.spec import Preprocessing

PIXELS = made_pictures(4, Preprocessing(32, 32, 1.0))


class Engine(EngineSession):
    """Answers what the graph does, with so much of class 7."""

    def __init__(self, graph: Graph, share: float) -> None:
        self.runtime = "a stand-in"
        self._session, self._share = open_graph(graph.path), share

    @property
    def graphs(self) -> tuple[int, ...]:
        return ()

    def capture(self, sizes: object) -> None:
        pass

    def run(self, images: Pixels) -> Probabilities:
        found = answers(self._session, images, len(images))
        seventh = np.eye(found.shape[1], dtype=np.float32)[7]
        blended: Probabilities = found * np.float32(1 - self._share) + np.float32(self._share) * seventh
        return blended


@pytest.mark.parametrize(("share", "wrong"), [(0.0, False), (0.01, False), (1.0, True)])
def test_an_engine_without_pictures_is_compared_with_its_graph(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: float, wrong: bool
) -> None:
    monkeypatch.setattr(measuring, "open_session", lambda *_: Engine(graph, share))
    monkeypatch.setattr(measuring, "time_alone", lambda *_: ())
    task = Task(PIXELS, None, None, 4, (1,), Compiler.TENSORRT)
    if wrong:
        with pytest.raises(InvalidOutputError, match="otherwise than the graph that its engine was made of"):
            measure(Files(graph), task, {}, None, tmp_path)
        return
    measure(Files(graph), task, {}, None, tmp_path)
    assert load_measured(tmp_path).accuracy is None
