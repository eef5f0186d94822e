"""A whole build, and what a failed one leaves: nothing."""

import dataclasses
from pathlib import Path

import pytest

from build_engines import builder
from build_engines.builder import build
from build_engines.errors import ClassesMismatchError, NotOursError
from build_engines.plan import Plan
from contract.config import from_pbtxt, read_config
from tests.unit.build_engines.conftest import Silent


def test_the_orchestrator_fits_on_a_screen_and_a_half() -> None:
    assert len(Path(builder.__file__).read_text().splitlines()) <= 100


def test_a_published_entry_reads_back_as_it_was_built(small: Plan) -> None:
    progress = Silent()
    built = build(dataclasses.replace(small, notes={"accuracy.top1": "87.10"}), progress)
    assert progress.steps == ["source", "export", "check", "verify", "publish"]
    folder = small.repository / small.entry_name
    entry = read_config(from_pbtxt((folder / "config.pbtxt").read_text()))
    assert entry == built.entry
    assert entry is not None
    assert entry.labels == ("cat", "dog")
    assert entry.max_batch_size == 4
    assert entry.build["accuracy.top1"] == "87.10"
    assert entry.build["parity.batches"] == "1,2,4"
    assert entry.build["onnx_sha256"] == built.graph.sha256
    assert (folder / "labels.txt").read_text().splitlines() == ["cat", "dog"]
    assert (folder / "1" / "model.onnx").stat().st_size == built.graph.size


def test_a_refused_build_leaves_nothing(small: Plan, tmp_path: Path) -> None:
    with pytest.raises(ClassesMismatchError):
        build(dataclasses.replace(small, num_classes=3), Silent())
    assert [child.name for child in small.repository.iterdir()] == [".lock"]
    assert sorted(child.name for child in tmp_path.iterdir()) == ["models", "pets.txt"]


def test_a_taken_name_is_refused_before_any_work(small: Plan) -> None:
    (small.repository / small.entry_name).mkdir(parents=True)
    progress = Silent()
    with pytest.raises(NotOursError):
        build(small, progress)
    assert progress.steps == []
