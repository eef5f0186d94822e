"""A record reads back as it was written, and says where it was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.record import Cell, Record, read, recorded, table, this_machine, words, write
from contract.cpus import available_cpus

CELLS = (
    Cell({"runtime": "torch", "batch": 8}, (1.0, 2.0, 4.0), {"peak_mb": 12.5}),
    Cell({"runtime": "TensorRT"}, skipped="there is no GPU"),
)


@pytest.fixture
def found() -> Record:
    return recorded("runtimes", "ms", CELLS, {"model": "vit"})


def test_what_was_written_is_read(found: Record, tmp_path: Path) -> None:
    path = write(found, tmp_path / "new")
    assert path.name == "runtimes.json"
    assert read(path) == found
    assert found.cells[0].percentile(50) == 2.0


def test_the_command_does_not_say_where_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--out", "/somewhere", "--model", "vit"])
    assert recorded("runtimes", "ms", CELLS, {}).command == "python -m benchmarks.runtimes --model vit"


def test_it_says_the_machine_the_versions_and_the_command(found: Record) -> None:
    assert found.machine == this_machine()
    assert found.machine["cpus"] == available_cpus()
    assert "numpy" in found.versions
    assert found.command.startswith("python -m benchmarks.runtimes")
    said = words(replace(found, machine={**found.machine, "flags": ["avx2"], "gpu": ""}, commit=""))
    assert "(avx2)" in said
    assert "no GPU" in said
    assert "commit unknown" in said


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", json.dumps({"schema": 99}), json.dumps({"schema": 1, "cells": []})]
)
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"x\.json is no record of a benchmark \(.+\); measure again"):
        read(path)


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
