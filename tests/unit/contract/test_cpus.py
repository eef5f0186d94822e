"""How many CPUs a process may use."""

import os
from pathlib import Path

import pytest

from contract.cpus import available_cpus

ALL = len(os.sched_getaffinity(0))


def grant(cgroup: Path, version: int, quota: int | None) -> None:
    """Write what the kernel shows for a quota, in microseconds of every 100,000."""
    if version == 2:
        (cgroup / "cpu.max").write_text(f"{'max' if quota is None else quota} 100000\n")
    else:
        (cgroup / "cpu").mkdir(exist_ok=True)
        (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else quota}\n")
        (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "absent") == ALL


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("quota", "expected"),
    [(1_000, 1), (50_000, 1), (100_000, 1), (100_001, min(2, ALL)), (99_900_000, ALL), (None, ALL)],
)
def test_a_quota_lowers_the_count(tmp_path: Path, version: int, quota: int | None, expected: int) -> None:
    grant(tmp_path, version, quota)
    assert available_cpus(tmp_path) == expected


@pytest.mark.parametrize("text", ["", "max", "one two"])
def test_what_is_no_quota_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert available_cpus(tmp_path) == ALL
