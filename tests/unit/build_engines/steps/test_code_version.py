"""Changed code makes the steps again that it is part of, and no others."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[4]
DIGESTS = """
import json, sys
from pathlib import Path
from build_engines.plan import Plan
from build_engines.steps import Silent, Steps
from build_engines.values import Compiler, Precision
folder = Path(sys.argv[1])
every = (Precision.FP32, Precision.FP16, Precision.INT8)
steps = Steps(
    Plan(
        "linear_8",
        folder / "models",
        pretrained=False,
        labels=folder / "labels.txt",
        precisions=every,
        compiler=Compiler.RTX,
        calibration=folder / "pictures",
        evaluation=folder / "pictures",
        keep_fp16="auto",
        cache=folder / "cache",
    ),
    Silent(),
    lambda _: None,
)
int8 = steps.graph(Precision.INT8)
print(json.dumps({
    "export": steps.model.digest,
    "reference": steps.reference.digest,
    "int8 graph": int8.digest,
    "int8 blocks": steps.mixed(int8, "int8").digest,
    "fp32 engine": steps.engine(steps.model, "fp32").digest,
    "fp32 verify": steps.variant(Precision.FP32, None).measuring.digest,
}))
"""
EVERY = {"export", "reference", "int8 graph", "int8 blocks", "fp32 engine", "fp32 verify"}


def checkout(tmp_path: Path) -> Path:
    """A copy of our code, with a plan's files beside it."""
    for package in ("build_engines", "contract"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "pictures" / "one.png")
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    """What each step is known by in the cache, by the code in `folder`."""
    command = [sys.executable, "-c", DIGESTS, str(folder)]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digests(checkout(tmp_path_factory.mktemp("unchanged")))


@pytest.mark.parametrize(
    ("module", "made_again"),
    [
        ("contract/pixels.py", {"reference", "int8 graph", "int8 blocks", "fp32 verify"}),
        ("contract/colours.py", {"reference", "int8 graph", "int8 blocks", "fp32 verify"}),
        ("build_engines/graph/exporter.py", EVERY),
        ("build_engines/graph/modelopt_steps.py", {"int8 graph", "int8 blocks"}),
        ("build_engines/graph/sensitivity.py", {"int8 blocks"}),
        ("build_engines/engine/engine.py", {"fp32 engine", "fp32 verify"}),
        ("build_engines/judge/speed.py", {"int8 blocks", "fp32 verify"}),
        ("build_engines/steps/steps.py", EVERY),
        ("build_engines/judge/gate.py", {"int8 blocks"}),
        ("build_engines/report/page.py", set()),
    ],
)
def test_a_changed_module_is_in_the_key_of_every_step_that_it_is_part_of(
    unchanged: dict[str, str], tmp_path: Path, module: str, made_again: set[str]
) -> None:
    with (checkout(tmp_path) / module).open("a") as source:
        source.write("\n# Changed.\n")
    changed = digests(tmp_path)
    assert {step for step in EVERY if unchanged[step] != changed[step]} == made_again
