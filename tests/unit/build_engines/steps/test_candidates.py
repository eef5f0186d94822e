"""Whether the attention of a model is quantised is left to the gate where a GPU can race the two, and only there."""

import dataclasses
import sys
from pathlib import Path

import pytest

from build_engines.machine import VISIBLE
from build_engines.plan import Plan
from build_engines.steps import Silent, Steps
from build_engines.values import Compiler, Precision
from tests.unit.build_engines.conftest import MODEL
from tests.unit.build_engines.test_machine import Nvml


@pytest.fixture
def listed_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that TensorRT for RTX compiles for."""
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(("NVIDIA L40S", (8, 9), 48 << 30)))


def attentions(plan: Plan, compiler: Compiler = Compiler.RTX) -> dict[Precision, tuple[bool, ...]]:
    steps = Steps(dataclasses.replace(plan, compiler=compiler), Silent(), lambda _: None)
    return {precision: steps.attentions(precision) for precision in Precision}


@pytest.fixture
def attentive(small: Plan, labels: Path) -> Plan:
    return dataclasses.replace(small, model=MODEL, register=("training.architecture",), labels=labels)


@pytest.mark.usefixtures("listed_gpu")
def test_eight_bits_have_two_candidates_on_a_gpu(attentive: Plan) -> None:
    one, two = (False,), (False, True)
    assert attentions(attentive) == {
        Precision.FP32: one,
        Precision.BF16: one,
        Precision.FP16: one,
        Precision.INT8: two,
        Precision.FP8: two,
    }


@pytest.mark.usefixtures("listed_gpu")
def test_a_model_without_attention_and_one_for_a_cpu_have_one_candidate(small: Plan, attentive: Plan) -> None:
    assert set(attentions(small).values()) == {(False,)}
    assert set(attentions(attentive, Compiler.NONE).values()) == {(False,)}


def test_without_a_gpu_there_is_one_candidate(attentive: Plan) -> None:
    assert set(attentions(attentive).values()) == {(False,)}


@pytest.mark.usefixtures("listed_gpu")
def test_the_two_have_graphs_of_their_own(attentive: Plan, tmp_path_factory: pytest.TempPathFactory) -> None:
    pictures = tmp_path_factory.mktemp("pictures")
    (pictures / "one.png").write_bytes(b"")
    steps = Steps(
        dataclasses.replace(attentive, compiler=Compiler.RTX, precisions=(Precision.INT8,), calibration=pictures),
        Silent(),
        lambda _: None,
    )
    assert steps.graph(Precision.INT8).digest != steps.graph(Precision.INT8, attention=True).digest
