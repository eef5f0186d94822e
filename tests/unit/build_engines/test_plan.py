"""A plan refuses what contradicts itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from build_engines.errors import PlanError
from build_engines.plan import MAX_NAME, Plan, default_repository
from build_engines.values import Compiler, Precision
from contract.spec import NAME

HERE = Path()


def test_an_entrys_name_is_timms_with_its_tag_and_the_precision() -> None:
    assert Plan("resnet50.a1_in1k", HERE).entry_name(Precision.FP32) == "resnet50.a1_in1k"
    assert Plan("resnet50.a1_in1k", HERE, name="birds").entry_name(Precision.INT8) == "birds_int8"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"model": ""}, "name a timm model"),
        ({"name": "../x"}, "--name must match"),
        ({"name": ".hidden"}, "--name must match"),
        ({"name": "a" * 124, "precisions": (Precision.INT8,), "calibration": HERE}, "has 129 characters, at most 128"),
        ({"model": "m" * 129}, "has 129 characters, at most 128 are allowed; give a shorter --name"),
        ({"checkpoint": HERE / "x.pth", "pretrained": False}, "exclude each other"),
        ({"num_classes": 0}, "--num-classes must be at least 1"),
        ({"max_batch_size": 0}, "--max-batch-size must be at least 1"),
        ({"instances": 0}, "--instances must be at least 1"),
        ({"workspace_mib": 0}, "--workspace-mib must be at least 1"),
        ({"max_queue_delay_us": -1}, "--max-queue-delay-us must be at least 0"),
        ({"opt_batch_size": 64}, "--opt-batch-size 64 is larger than --max-batch-size 32"),
        ({"race_batches": (1, 0)}, "--race-batches takes sizes from 1 to --max-batch-size 32, not 0"),
        ({"race_batches": (8, 64)}, "--race-batches takes sizes from 1 to --max-batch-size 32, not 64"),
        ({"precisions": ()}, "at least one"),
        ({"precisions": (Precision.FP32, Precision.FP32)}, "at most once"),
        ({"precisions": (Precision.FP16, Precision.INT8)}, "fp16 and int8 must see real pictures"),
        ({"precisions": (Precision.FP8,), "calibration": HERE}, "fp8 needs a GPU"),
        ({"precisions": (Precision.BF16,)}, "bf16 must be judged by pictures"),
        (
            {"precisions": (Precision.BF16,), "evaluation": HERE, "compiler": Compiler.TENSORRT},
            "bf16 is for CPUs",
        ),
        ({"calibration_method": "percentile"}, "one of entropy, max"),
        ({"keep_fp16": "all"}, "one of none, auto"),
        ({"notes": {"Top 1": "87"}}, "key of a --note"),
        ({"notes": {"accuracy.top1": " "}}, "value of --note accuracy.top1"),
        ({"notes": {"accuracy.top1": "87\n"}}, "value of --note accuracy.top1"),
        ({"notes": {"weights": "mine"}}, "build.weights is the builder's own"),
        ({"notes": {"measured.top1": "0"}}, "builder's own"),
        ({"notes": {"parity.max_abs_diff": "0"}}, "builder's own"),
    ],
)
def test_a_contradiction_is_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Plan(**{"model": "resnet50", "repository": HERE, **choices})


def test_speed_is_judged_at_the_sizes_that_batching_makes_or_at_those_that_are_named() -> None:
    plan = Plan("resnet50", HERE, max_batch_size=12)
    assert plan.raced == (1, 2, 4, 8, 12)
    assert replace(plan, race_batches=(8, 1, 8)).raced == (8, 1, 8)


def test_engines_of_tensorrt_for_rtx_have_a_folder_of_their_own() -> None:
    assert default_repository(Compiler.RTX) == Path("rtx_engines")
    assert default_repository(Compiler.TENSORRT) == default_repository(Compiler.NONE) == Path("model_repository")


def test_the_longest_name_is_the_contracts() -> None:
    assert NAME.fullmatch("a" * MAX_NAME)
    assert not NAME.fullmatch("a" * (MAX_NAME + 1))
    assert Plan("m", HERE, name="a" * MAX_NAME).base_name == "a" * MAX_NAME
