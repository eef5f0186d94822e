"""Killed after any step, a build leaves the repository as it was or whole, and the next one goes on."""

import subprocess
import sys
from pathlib import Path

from build_engines.build import build
from build_engines.results import Outcome
from contract.config import from_pbtxt, read_config
from tests.unit.build_engines.conftest import Silent
from tests.unit.build_engines.kills import plan, whole_plan

ROOT = Path(__file__).parents[3]
STEPS = ["export", "fp32 verify", "locked", "staged", "synced", "published"]


def kill(how: str, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.build_engines.kills", how, str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)


def test_a_build_killed_after_each_step_in_turn(tmp_path: Path) -> None:
    kill("apart", tmp_path)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert [(folder / "died").read_text() for folder in folders if (folder / "died").exists()] == STEPS
    for number, folder in enumerate(folders[: len(STEPS)]):
        entry = folder / "models" / "linear_8"
        assert entry.exists() == (STEPS[number] == "published")
        progress = Silent()
        (variant,) = build(plan(folder), progress).variants
        assert variant.outcome is (Outcome.UNCHANGED if STEPS[number] == "published" else Outcome.PUBLISHED)
        assert variant.version == 1
        done = STEPS[: number + 1]
        assert [step for step in progress.steps if step in done] == [], "a whole step was done again"
        read = read_config(from_pbtxt((entry / "config.pbtxt").read_text()))
        assert read is not None
        assert read.labels == ("cat", "dog")
        assert (entry / "1" / "model.onnx").is_file()
        assert not (folder / ".models.building").exists()


def test_variants_killed_after_each_step_in_turn_are_all_there_in_the_end(tmp_path: Path) -> None:
    kill("on", tmp_path)
    died = dict(line.split(":") for line in (tmp_path / "died").read_text().splitlines())
    assert list(died) == [
        *("export", "reference", "fp32 engine", "fp32 verify", "int8 graph", "int8 engine", "int8 verify"),
        *("locked", "staged", "synced", "published"),
    ]
    assert set(died.values()) == {" ", " nano"}
    assert died["published"] == " nano", "and nothing before"
    assert died["synced"] == " "
    progress = Silent()
    report = build(whole_plan(tmp_path), progress)
    assert progress.steps == []
    assert [(each.outcome, each.version) for each in report.variants] == [(Outcome.UNCHANGED, 1)] * 2
