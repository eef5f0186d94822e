"""A trained folder as the choices of a build."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from build_engines.errors import PlanError
from build_engines.options import add_options, plan_of
from build_engines.plan import Plan
from build_engines.planfile import read_plans

FACTS: dict[str, Any] = {
    "register": ["training.networks"],
    "calibration": "train.csv",
    "evaluation": "evaluation.csv",
    "notes": {"accuracy.top1": "91.00", "accuracy.dataset": "flowers test, 10 pictures"},
    "pictures": {"path": "../flowers"},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "flowers").mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "training.json").write_text(json.dumps(FACTS))
    return folder


def plan(*arguments: object) -> Plan:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return plan_of(parser.parse_args([str(each) for each in arguments]))


def test_the_folder_says_all_that_is_not_said_otherwise(run: Path) -> None:
    made = plan(run)
    assert (made.model, made.checkpoint, made.base_name) == ("", run, "run")
    assert made.register == ("training.networks",)
    assert made.notes == FACTS["notes"]
    assert made.evaluation == run / "evaluation.csv"
    assert made.calibration is None, "nothing is calibrated for FP32"


def test_lower_precisions_are_calibrated_by_what_was_trained_on(run: Path) -> None:
    assert plan(run, "--precision", "fp32,int8").calibration == run / "train.csv"


def test_what_is_said_wins(run: Path, tmp_path: Path) -> None:
    made = plan(run, "--evaluation", tmp_path, "--note", "accuracy.top1=1", "--register", "mine", "--name", "flowers")
    assert made.evaluation == tmp_path
    assert made.notes == {**FACTS["notes"], "accuracy.top1": "1"}
    assert made.register == ("training.networks", "mine")
    assert made.base_name == "flowers"


def test_pictures_that_are_no_longer_there_are_not_asked_for(run: Path, tmp_path: Path) -> None:
    (tmp_path / "flowers").rmdir()
    assert plan(run).evaluation is None
    assert plan(run).notes == FACTS["notes"]


def test_a_folder_that_another_library_saved_is_its_checkpoint(run: Path) -> None:
    (run / "training.json").unlink()
    made = plan(run)
    assert (made.checkpoint, made.register, made.notes) == (run, (), {})


def test_a_name_of_timms_stays_one_where_a_folder_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resnet18").mkdir()
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert plan("resnet18").model == "resnet18"
    with pytest.raises(PlanError, match="name a timm model"):
        plan()


def test_a_checkpoint_beside_it_is_refused(run: Path) -> None:
    with pytest.raises(PlanError, match="leave --checkpoint out"):
        plan(run, "--checkpoint", run)


@pytest.mark.parametrize("text", ["", "[]", '{"register": 3}', '{"notes": []}', '{"pictures": "x"}'])
def test_facts_that_are_none_are_refused(run: Path, text: str) -> None:
    (run / "training.json").write_text(text)
    with pytest.raises(PlanError, match=r"training\.json"):
        plan(run)


def test_a_file_of_plans_names_it_relative_to_itself(run: Path, tmp_path: Path) -> None:
    (tmp_path / "plans.toml").write_text('[[model]]\nmodel = "run"\nname = "flowers"\n')
    (made,) = read_plans(tmp_path / "plans.toml")
    assert (made.checkpoint, made.base_name, made.evaluation) == (run, "flowers", run / "evaluation.csv")
