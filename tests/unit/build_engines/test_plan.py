"""A plan refuses what contradicts itself."""

from pathlib import Path
from typing import Any

import pytest

from build_engines.errors import PlanError
from build_engines.plan import Plan

HERE = Path()


def test_the_entrys_name_is_timms_with_its_tag() -> None:
    assert Plan("resnet50.a1_in1k", HERE).entry_name == "resnet50.a1_in1k"
    assert Plan("resnet50.a1_in1k", HERE, name="birds").entry_name == "birds"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"model": ""}, "name a timm model"),
        ({"name": "../x"}, "--name must match"),
        ({"name": ".hidden"}, "--name must match"),
        ({"checkpoint": HERE / "x.pth", "pretrained": False}, "exclude each other"),
        ({"num_classes": 0}, "--num-classes must be at least 1"),
        ({"max_batch_size": 0}, "--max-batch-size must be at least 1"),
        ({"notes": {"Top 1": "87"}}, "key of a --note"),
        ({"notes": {"accuracy.top1": " "}}, "value of --note accuracy.top1"),
        ({"notes": {"accuracy.top1": "87\n"}}, "value of --note accuracy.top1"),
        ({"notes": {"weights": "mine"}}, "build.weights is the builder's own"),
        ({"notes": {"parity.max_abs_diff": "0"}}, "builder's own"),
    ],
)
def test_a_contradiction_is_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Plan(**{"model": "resnet50", "repository": HERE, **choices})
