"""Imports run one way. Reads the sources; imports nothing."""

import ast
import re
from pathlib import Path

import pytest

from docs import rooms

ROOT = Path(__file__).parents[2]
PACKAGES = ("contract", "service", "embedded", "build_engines", "training", "benchmarks", "vitrine")

ALLOWED = {
    "contract": {"contract"},
    "service": {"service", "contract"},
    "embedded": {"embedded", "contract"},
    "build_engines": {"build_engines", "contract"},
    "training": {"training", "build_engines", "contract"},
    "benchmarks": {"benchmarks", "build_engines", "contract", "embedded", "service"},
    "vitrine": {"vitrine"},
}
"""Which of our packages each of our packages may import."""

LAYERS = [
    ["service.kserve"],
    ["service.__main__"],
    ["service.workers"],
    ["service.app", "service.server"],
    ["service.connection"],
    ["service.http11"],
    ["service.refusal", "service.framing"],
    [
        "service.api.classify",
        "service.api.explain",
        "service.api.models",
        "service.api.open_inference",
        "service.api.ops",
    ],
    [
        "service.api.receiving",
        "service.api.playground",
        "service.api.middleware",
        "service.api.head",
        "service.api.direct",
    ],
    ["service.api.errors", "service.api.body", "service.api.tensors"],
    ["service.api.schemas", "service.api.deps"],
    ["service.api.incoming"],
    ["service.api.coding"],
    ["service.explanation", "service.inference"],
    ["service.pipeline", "service.catalog_collector", "service.admission", "service.keys"],
    ["service.catalog", "service.preparation"],
    ["service.survey", "service.images", "service.memory", "service.threads", "service.companions"],
    ["service.tritons"],
    ["service.triton", "service.structure", "service.avif", "service.jpeg", "service.metadata", "service.deadline"],
    ["service.arrivals", "service.layouts", "service.interruption"],
    ["service.metrics", "service.errors", "service.tracing", "service.rates", "service.states", "service.reasons"],
    ["service.settings", "service.stages", "service.occlusion", "service.rendering"],
]
"""The rooms of the gateway from the front door down: a module imports from lower layers only."""

STEPS = ["model", "pictures", "graph", "engine", "judge", "repository"]
BUILDER = [
    ["cli"],
    ["build", "summary", "doctor", "tune"],
    ["candidates"],
    ["report", "publish", "planfile", "options"],
    ["trained_folder"],
    ["provenance", "steps"],
    ["results", "cache"],
    STEPS,
    ["plan", "machine", "nvidia_releases"],
    ["values", "atomic"],
    ["errors"],
]
"""The rooms of the builder from the command down: a room imports from lower layers only, so no step imports another."""

HEAVY = {"torch", "timm", "onnx", "onnxruntime", "onnxscript", "tensorrt", "modelopt", "torchvision"}
LIGHT_PACKAGES = ("contract", "service", "embedded", "vitrine")


def modules(package: str) -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        relative = path.relative_to(ROOT).with_suffix("")
        if "backends" in relative.parts:  # runs inside Triton, on its own
            continue
        found[".".join(relative.parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


ALL = {name: tree for package in PACKAGES for name, tree in modules(package).items()}


def imports_of(name: str) -> set[str]:
    """Our modules that `name` imports."""
    return {target for node in ast.walk(ALL[name]) for target in imported(node) if target in ALL and target != name}


@pytest.mark.parametrize("name", ALL)
def test_a_package_imports_only_what_it_may(name: str) -> None:
    allowed = ALLOWED[name.partition(".")[0]]
    assert {target for target in imports_of(name) if target.split(".")[0] not in allowed} == set()


@pytest.mark.parametrize("name", ALL)
def test_no_relative_imports_and_none_of_ours_inside_functions(name: str) -> None:
    for node in ast.walk(ALL[name]):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{name} imports relatively"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ast.walk(node):
                assert not set(imported(inner)) & set(ALL), f"{name}.{node.name} imports one of ours"


@pytest.mark.parametrize("name", [name for name in ALL if name.split(".")[0] in LIGHT_PACKAGES])
def test_what_serves_never_imports_what_builds(name: str) -> None:
    roots = {target.split(".")[0] for node in ast.walk(ALL[name]) for target in imported(node)}
    assert roots & HEAVY == set()


def test_the_gateways_layers_are_complete_and_run_down() -> None:
    level = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    assert level.keys() == {
        name for name in ALL if name.startswith("service") and name not in ("service", "service.api")
    }
    for name, depth in level.items():
        for target in imports_of(name):
            if target in level:
                assert level[target] > depth, f"{name} imports {target}, which is not below it"


def test_the_builders_rooms_are_complete_and_run_down() -> None:
    level = {name: depth for depth, names in enumerate(BUILDER) for name in names}
    found = rooms.rooms()
    assert level.keys() == found.keys()
    assert [(room, other) for room, others in found.items() for other in others if level[other] <= level[room]] == []


def test_the_builders_folders_are_entered_by_their_doors() -> None:
    for module, tree in rooms.modules().items():
        inner = {target for target in rooms.imports_of(tree) if "." in target}
        assert {target for target in inner if rooms.room_of(target) != rooms.room_of(module)} == set(), module


def test_there_is_no_cycle() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for target in imports_of(name):
                visit(target, (*path, name))
            done.add(name)

    for name in ALL:
        visit(name, ())


def test_every_package_is_installed() -> None:
    """An editable installation finds packages that are not named; a wheel does not have them."""
    named = re.search(r"^packages = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert named
    found = {path.parent.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")}
    assert set(re.findall(r'"(.+?)"', named[1])) == {".".join(folder.parts) for folder in found}
