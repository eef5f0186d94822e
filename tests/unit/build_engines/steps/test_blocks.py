"""The blocks that stay in high precision are chosen by other pictures than those that judge the result."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from build_engines.plan import Plan
from build_engines.steps import Silent, Steps
from build_engines.values import Precision


@pytest.fixture
def plan(small: Plan, tmp_path: Path) -> Plan:
    for level, name in enumerate(("seen", "unseen", "others")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(tmp_path / name / "one.png")
    return dataclasses.replace(
        small, precisions=(Precision.INT8,), calibration=tmp_path / "seen", evaluation=tmp_path / "unseen"
    )


def blocks(plan: Plan) -> str:
    steps = Steps(plan, Silent(), lambda _: None)
    return steps.mixed(steps.graph(Precision.INT8), "int8").digest


def test_the_pictures_for_evaluation_decide_nothing_about_the_blocks(plan: Plan, tmp_path: Path) -> None:
    assert blocks(plan) == blocks(dataclasses.replace(plan, evaluation=tmp_path / "others"))
    assert blocks(plan) != blocks(dataclasses.replace(plan, calibration=tmp_path / "others"))


def test_pictures_that_choose_and_judge_are_named_in_the_report(plan: Plan, tmp_path: Path) -> None:
    apart = Steps(plan, Silent(), lambda _: None).pictures
    assert apart.held_out
    same = Steps(dataclasses.replace(plan, evaluation=tmp_path / "seen"), Silent(), lambda _: None).pictures
    assert "calibration saw some of them" in same.evaluation_words("matched").notes[1]
