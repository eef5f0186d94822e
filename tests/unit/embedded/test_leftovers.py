"""What a killed supervisor leaves is known by its name and removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded import leftovers


@pytest.fixture
def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_what_a_dead_supervisor_left_is_removed(tmp_path: Path, dead: int) -> None:
    memory = tmp_path / f"vitrine-{dead}-0123abcd-region"
    memory.touch()
    runtime = tmp_path / f"vitrine-{dead}-0123abcd-x"
    (runtime / "backends").mkdir(parents=True)
    assert leftovers.sweep([tmp_path, tmp_path / "nowhere"]) == [memory, runtime]
    assert list(tmp_path.iterdir()) == []


def test_what_belongs_to_the_living_or_to_others_stays(tmp_path: Path, dead: int) -> None:
    kept = [
        f"vitrine-{os.getpid()}-0123abcd-region",
        f"vitrine-{dead}-report",
        "vitrine-1-0123abcd-of-another-user",
        "triton_python_backend_shm_region_1",
    ]
    for name in kept:
        (tmp_path / name).touch()
    assert leftovers.sweep([tmp_path]) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_stack_removes_its_own(tmp_path: Path) -> None:
    mine, other = leftovers.new_prefix(), leftovers.new_prefix()
    (tmp_path / f"{mine}region").touch()
    (tmp_path / f"{other}region").touch()
    leftovers.remove(mine, [tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == [f"{other}region"]
