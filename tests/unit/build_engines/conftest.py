"""One small model, exported once for all tests that need a graph."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from build_engines.graph.exporter import export_graph
from build_engines.model import TimmModel, load_timm_model
from build_engines.plan import Plan
from build_engines.values import Graph

# The build environment is the only one with torch; elsewhere these tests are not there.
collect_ignore_glob = [] if importlib.util.find_spec("timm") else ["*.py"]

MODEL = "vit_nano_convstem_patch4_32"
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Silent:
    """A `Progress` that remembers the names of its steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.kept_steps: list[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.steps.append(name)
        yield

    def kept(self, name: str) -> None:
        self.kept_steps.append(name)


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labels file for the ten classes of `MODEL`."""
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("".join(f"{label}\n" for label in LABELS))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Plan:
    """One linear layer: a whole build of it takes a second or two."""
    (tmp_path / "pets.txt").write_text("cat\ndog\n")
    return Plan(
        model="linear_8",
        repository=tmp_path / "models",
        pretrained=False,
        labels=tmp_path / "pets.txt",
        max_batch_size=4,
        register=("tests.unit.build_engines.architectures",),
        cache=tmp_path / "cache",
        reports=tmp_path / "reports",
    )


@pytest.fixture(scope="session")
def plan(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """`MODEL` with random weights."""
    return Plan(
        model=MODEL,
        repository=tmp_path_factory.mktemp("repository") / "models",
        pretrained=False,
        labels=labels,
        max_batch_size=4,
        register=("training.architecture",),
    )


@pytest.fixture(scope="session")
def source(plan: Plan) -> TimmModel:
    """What `plan` starts from."""
    return load_timm_model(plan)


@pytest.fixture(scope="session")
def graph(source: TimmModel, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Its graph."""
    return export_graph(source.classifier, tmp_path_factory.mktemp("graph"))
