"""Lower precisions, from the plan to what is published or refused. With trained weights and pictures made here."""

import dataclasses
import shutil
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from build_engines.build import build
from build_engines.cli import main
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.report import Report
from build_engines.results import Outcome, Result
from build_engines.values import Compiler, Precision
from contract.config import from_pbtxt
from contract.spec import Preprocessing
from tests.unit.build_engines.conftest import Silent

DATA = Path(__file__).parents[3] / "data" / "vit_nano"


PLAN = Plan(
    model="vit_nano_convstem_patch4_32",
    name="nano",
    repository=Path("models"),
    register=("training.architecture",),
    checkpoint=DATA / "weights.safetensors",
    labels=DATA / "labels.txt",
    precisions=(Precision.FP32, Precision.INT8),
    calibration=Path("pictures.zip"),
    calibration_method="max",
    max_batch_size=2,
)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan with 560 pictures in a zip, and in its cache all that FP32 takes."""
    folder = tmp_path_factory.mktemp("started")
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for number, pixels in enumerate(made_pictures(1120, Preprocessing(32, 32, 1.0))[::2]):
            content = BytesIO()
            Image.fromarray(pixels).save(content, "PNG")
            archive.writestr(f"{number:04}.png", content.getvalue())
    some = folder / "pictures.zip"
    plan = dataclasses.replace(in_folder(PLAN, folder), calibration=some, evaluation=some)
    build(dataclasses.replace(plan, precisions=(Precision.FP32,)), Silent())
    return plan


@pytest.fixture
def plan(started: Plan, tmp_path: Path) -> Plan:
    """The same with a cache and a repository of its own."""
    shutil.copytree(started.cache, tmp_path / "cache")
    return in_folder(started, tmp_path)


def test_weights_in_fewer_bytes_are_judged_by_pictures_set_aside_from_calibration(plan: Plan) -> None:
    (variant,) = build(
        dataclasses.replace(plan, precisions=(Precision.FP32,), weights="int8", evaluation=None), Silent()
    ).variants
    assert variant.measured is not None
    assert variant.measured.accuracy is not None
    assert variant.measured.parity == {}, "what was compared with torch is not what is served"


def in_folder(plan: Plan, folder: Path) -> Plan:
    """`plan` with everything that it writes in `folder`."""
    return dataclasses.replace(plan, repository=folder / "models", cache=folder / "cache", reports=folder / "reports")


def variant(report: Report, wanted: Precision) -> Result:
    return next(each for each in report.variants if each.precision is wanted)


def changing(plan: Plan, change: Callable[[onnx.ModelProto], None]) -> Callable[[str], None]:
    """Sabotage between two steps: change the INT8 graph in the cache as soon as it is there."""

    def reached(step: str) -> None:
        if step == "int8 graph":
            newest = max((plan.cache / "graph").glob("*/model.onnx"), key=lambda path: path.stat().st_mtime_ns)
            proto = onnx.load(newest)
            change(proto)
            onnx.save(proto, newest)

    return reached


def scale_ranges(proto: onnx.ModelProto) -> None:
    """What a wrong calibration does: every range a quarter of what it should be."""
    scales = {node.input[1] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in proto.graph.initializer:
        if tensor.name in scales:
            scale = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((0.25 * scale).astype(scale.dtype), tensor.name))


WORK = 3_000
"""Operations: several milliseconds. ONNX Runtime's time to open a graph grows with their square."""


def add_work(proto: onnx.ModelProto) -> None:
    """What badly placed Q/DQ pairs do: work that brings nothing."""
    output = proto.graph.output[0].name
    last = next(node for node in proto.graph.node if output in node.output)
    last.output[0] = "slow_0"
    for number in range(WORK):
        name = output if number == WORK - 1 else f"slow_{number + 1}"
        proto.graph.node.append(helper.make_node("Clip", [f"slow_{number}"], [name]))


def answer_nothing(proto: onnx.ModelProto) -> None:
    """What an overflow does."""
    output = proto.graph.output[0].name
    last = next(node for node in proto.graph.node if output in node.output)
    last.output[0] = "whole"
    proto.graph.initializer.append(numpy_helper.from_array(np.array("nan", np.float32), "nothing"))
    proto.graph.node.append(helper.make_node("Mul", ["whole", "nothing"], [output]))


def test_a_sabotaged_calibration_is_refused(plan: Plan) -> None:
    plan = dataclasses.replace(plan, compiler=Compiler.RTX)
    report = build(plan, Silent(), reached=changing(plan, scale_ranges))
    int8 = variant(report, Precision.INT8)
    assert int8.outcome is Outcome.REFUSED
    assert int8.verdict is not None
    assert "top-1 is FP32's on" in int8.reason
    assert not (plan.repository / "nano_int8").exists()
    assert int8.reason in (plan.reports / "nano" / "report.md").read_text()


def test_a_slow_variant_is_refused_and_can_be_forced(plan: Plan) -> None:
    report = build(plan, Silent(), reached=changing(plan, add_work))
    int8 = variant(report, Precision.INT8)
    assert int8.outcome is Outcome.REFUSED
    assert int8.race is not None
    assert int8.race.speedup < 1
    assert not (plan.repository / "nano_int8").exists()
    assert (plan.repository / "nano" / "1" / "model.onnx").exists()

    progress = Silent()
    forced = variant(build(dataclasses.replace(plan, force=True), progress), Precision.INT8)
    assert forced.outcome is Outcome.PUBLISHED
    assert forced.forced
    assert progress.steps == ["int8 publish"]
    config = from_pbtxt((plan.repository / "nano_int8" / "config.pbtxt").read_text())
    assert config.parameters["build.gate"].string_value.startswith("failed, forced: ")
    assert config.parameters["build.calibration.pictures"].string_value == "512"


def test_blocks_that_hurt_stay_in_high_precision_until_the_gate_passes(plan: Plan) -> None:
    plan = dataclasses.replace(plan, compiler=Compiler.RTX, keep_fp16="auto")
    report = build(plan, Silent(), reached=changing(plan, scale_ranges))
    int8 = variant(report, Precision.INT8)
    assert int8.outcome is Outcome.PUBLISHED
    assert int8.accuracy is not None
    assert int8.accuracy.agreement >= 0.98
    assert int8.measured is not None
    assert int8.measured.sensitivity is not None
    kept = [row[-1] for row in int8.measured.sensitivity.rows]
    assert len(kept) > 1
    page = (plan.reports / "nano" / "report.md").read_text()
    assert all(column in page for column in int8.measured.sensitivity.columns)


def test_of_a_changed_recipe_only_that_precision_is_made_anew(plan: Plan) -> None:
    plan = dataclasses.replace(plan, precisions=(Precision.FP32, Precision.FP16, Precision.INT8), compiler=Compiler.RTX)
    build(plan, Silent())
    again = Silent()
    build(plan, again)
    assert again.steps == []
    changed = Silent()
    report = build(dataclasses.replace(plan, calibration_method="entropy"), changed)
    assert changed.steps[0] == "int8 graph"
    assert {step.partition(" ")[0] for step in changed.steps} == {"int8"}
    assert [each.outcome for each in report.variants[:2]] == [Outcome.UNCHANGED] * 2


def test_a_variant_that_cannot_be_made_leaves_the_others_whole(plan: Plan) -> None:
    plan = dataclasses.replace(plan, precisions=(*plan.precisions, Precision.FP16))
    report = build(plan, Silent(), reached=changing(plan, answer_nothing))
    outcomes = {each.precision: each.outcome for each in report.variants}
    assert outcomes[Precision.INT8] is Outcome.FAILED
    assert outcomes[Precision.FP32] is Outcome.PUBLISHED
    assert outcomes[Precision.FP16] is not Outcome.FAILED
    int8 = variant(report, Precision.INT8)
    assert "NaN or infinity" in int8.reason
    assert int8.reason in (plan.reports / "nano" / "report.md").read_text()
    assert not (plan.repository / "nano_int8").exists()


def test_engines_are_compiled_published_and_stamped(plan: Plan) -> None:
    plan = dataclasses.replace(plan, compiler=Compiler.RTX, precisions=(Precision.FP16,))
    report = build(plan, Silent())
    fp16 = variant(report, Precision.FP16)
    assert fp16.outcome is Outcome.PUBLISHED
    assert fp16.measured is not None
    assert fp16.accuracy is not None
    assert fp16.accuracy.agreement >= 0.98
    assert fp16.verdict is not None
    assert any("no GPU here runs the engine" in note for note in fp16.verdict.notes)
    folder = plan.repository / "nano_fp16"
    config = from_pbtxt((folder / "config.pbtxt").read_text())
    assert config.platform == "tensorrt_plan"
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU
    assert config.optimization.cuda.graphs
    assert (folder / "1" / "model.plan").stat().st_size == fp16.measured.engine_size
    assert config.parameters["build.engine.compiler"].string_value == "rtx"
    assert config.parameters["build.precision"].string_value == "fp16"


def test_the_exit_code_says_that_the_gate_refused(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    few = [
        *("build", plan.model, "--name", "nano", "--register", *plan.register, "--checkpoint", str(plan.checkpoint)),
        *("--labels", str(plan.labels), "--repository", str(plan.repository), "--cache", str(plan.cache)),
        *("--reports", str(plan.reports), "--max-batch-size", "2", "--precision", "fp16"),
        *("--calibration", str(plan.calibration), "--calibration-pictures", "100"),
    ]
    assert main(few) == 2
    assert "[too_few_pictures]" in capsys.readouterr().err
    assert not (plan.repository / "nano_fp16").exists()
