"""How many CPUs a process may use."""

import os
from pathlib import Path

import pytest

from contract.cpus import available_cpus


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "absent") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "expected"), [("50000 100000", 1), ("100000 100000", 1), ("1000 100000", 1)])
def test_a_quota_lowers_the_count(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert available_cpus(tmp_path / "cpu.max") == expected


def test_an_unlimited_or_generous_quota_does_not(tmp_path: Path) -> None:
    for quota in ("max 100000", "99900000 100000"):
        (tmp_path / "cpu.max").write_text(quota + "\n")
        assert available_cpus(tmp_path / "cpu.max") == len(os.sched_getaffinity(0))
