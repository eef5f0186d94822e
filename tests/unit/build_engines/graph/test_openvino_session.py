"""Graphs in OpenVINO: FP32's answers up to BF16's rounding, and refusals that say what to do."""

import sys
from pathlib import Path

import numpy as np
import pytest

from build_engines.errors import PrecisionError
from build_engines.graph import open_graph, openvino_session
from build_engines.graph.openvino_session import open_bf16

TRAINED = Path(__file__).parents[3] / "data" / "vit_nano" / "model.onnx"
ROUNDING = 0.03
"""Of a probability: BF16 has 8 bits of precision, and roundings add up through the layers."""


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that multiplies in BF16; OpenVINO computes in FP32 where it does not."""
    monkeypatch.setattr(openvino_session, "multiplies_bf16", lambda: True)


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize("batch", [1, 5])
def test_it_answers_as_onnx_runtime_but_for_rounding(batch: int) -> None:
    images = np.random.default_rng(batch).integers(0, 256, (batch, 32, 32, 3), dtype=np.uint8)
    session = open_bf16(TRAINED)
    got, wanted = session.run(images), open_graph(TRAINED).run(images)
    assert got.dtype == np.float32
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < ROUNDING
    assert session.runtime.startswith("OpenVINO 20")
    assert " in BF16, " in session.runtime


def test_a_cpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session, "multiplies_bf16", lambda: False)
    with pytest.raises(PrecisionError, match=r"neither AVX-512 BF16 nor AMX.*; leave bf16 out"):
        open_bf16(TRAINED)


@pytest.mark.usefixtures("able")
def test_without_openvino_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(PrecisionError, match=r"pip install 'vitrine\[openvino\]', or leave bf16 out"):
        open_bf16(TRAINED)


@pytest.mark.usefixtures("able")
def test_a_graph_that_openvino_does_not_take_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(PrecisionError, match="OpenVINO cannot compile the graph: "):
        open_bf16(tmp_path / "model.onnx")
