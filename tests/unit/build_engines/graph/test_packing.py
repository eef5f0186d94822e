"""Weights stored in 8 bits: the same answers from a quarter of the bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from build_engines.graph import Recipe, WeightType, convert, open_graph, pack_weights, store_weights
from build_engines.graph.packing import quantised_weights
from build_engines.graph.qdq import check_like, has_pairs
from build_engines.values import Precision, describe
from tests.unit.build_engines.graph.converted import PIXELS, answers, trained


def weights(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(5).normal(0, 0.3, shape).astype(np.float32)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize(
    ("shape", "axis", "scales"), [((6, 4), 0, 6), ((6, 4), 1, 4), ((6, 4), 1, 1), ((5, 3, 2, 2), 0, 5)]
)
def test_weights_are_what_the_op_makes_of_them(kind: type, shape: tuple[int, ...], axis: int, scales: int) -> None:
    """Some of them exactly between two levels, and some outside the range."""
    scale = np.linspace(0.001, 0.02, scales).astype(np.float32) if scales > 1 else np.array(0.003, np.float32)
    zero: npt.NDArray[Any] = (np.arange(scales) if scales > 1 else np.array(7)).astype(kind)
    values = weights(shape)
    values.flat[:3] = [scale.flat[0] * 1.5, scale.flat[0] * 2.5, 100.0]
    node = helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=axis)
    ends = (
        [helper.make_tensor_value_info("w", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("q", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)],
    )
    constants = [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(zero, "z")]
    model = helper.make_model(
        helper.make_graph([node], "one", *ends, constants), opset_imports=[helper.make_opsetid("", 20)]
    )
    (wanted,) = ReferenceEvaluator(model).run(None, {"w": values})
    found = quantised_weights(values, scale, zero, axis)
    assert found.dtype == kind
    assert np.array_equal(found, wanted)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Any:
    recipe = Recipe(Precision.INT8, for_engine=False, method="max")
    return convert(trained(), recipe, PIXELS, tmp_path_factory.mktemp("wide"))


def test_a_graph_answers_the_same_with_its_weights_in_8_bits(wide: Any, tmp_path: Path) -> None:
    packed = pack_weights(wide, tmp_path)
    onnx.checker.check_model(str(packed.path), full_check=True)
    assert np.array_equal(answers(packed, PIXELS), answers(wide, PIXELS))
    assert has_pairs(packed), "what pictures cause is still quantised as it comes"
    stored = {numpy_helper.to_array(tensor).dtype for tensor in onnx.load(packed.path).graph.initializer if tensor.dims}
    assert np.dtype(np.int8) in stored
    sizes = [graph.path.stat().st_size for graph in (wide, packed)]
    assert sizes[1] < 0.5 * sizes[0]


def test_an_fp32_graph_stays_as_it_is(tmp_path: Path) -> None:
    packed = pack_weights(trained(), tmp_path)
    assert np.array_equal(answers(packed, PIXELS), answers(trained(), PIXELS))


def test_weights_beside_the_graph_are_packed_too(wide: Any, tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    proto = onnx.load(wide.path)
    onnx.save(
        proto, tmp_path / "beside" / "model.onnx", save_as_external_data=True, location="w.data", size_threshold=0
    )
    (tmp_path / "packed").mkdir()
    packed = pack_weights(describe(tmp_path / "beside" / "model.onnx"), tmp_path / "packed")
    assert np.array_equal(answers(packed, PIXELS), answers(wide, PIXELS))


@pytest.mark.parametrize(("kind", "share", "apart"), [("fp16", 0.55, 2e-3), ("int8", 0.32, 0.05)])
def test_an_fp32_graph_may_hold_its_weights_in_fewer_bytes(
    kind: WeightType, share: float, apart: float, tmp_path: Path
) -> None:
    stored = store_weights(trained(), kind, tmp_path)
    onnx.checker.check_model(str(stored.path), full_check=True)
    check_like(stored, trained())
    assert stored.path.stat().st_size < share * trained().path.stat().st_size
    wide, found = answers(trained(), PIXELS), answers(stored, PIXELS)
    assert np.abs(found - wide).max() < apart
    assert (found.argmax(1) == wide.argmax(1)).mean() > 0.95
    assert np.abs(open_graph(stored.path).run(PIXELS) - found).max() < 1e-5, "as ONNX Runtime folds it"


def test_a_channel_of_zeros_stays_one(tmp_path: Path) -> None:
    """Products of each kind, with the channels where each has them."""
    weights = {"conv": (40, 30, 1, 1), "matmul": (40, 50), "gemm": (60, 50)}
    tensors = {name: np.random.default_rng(1).normal(0, 1, shape).astype(np.float32) for name, shape in weights.items()}
    tensors["conv"][3] = 0
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["x"], name="cast", to=TensorProto.FLOAT),
        make("Conv", ["x", "conv"], ["a"], name="a"),
        make("GlobalAveragePool", ["a"], ["b"], name="b"),
        make("Flatten", ["b"], ["c"], name="c"),
        make("MatMul", ["c", "matmul"], ["d"], name="d"),
        make("Gemm", ["d", "gemm"], ["probabilities"], name="e", transB=1),
    ]
    ends = (
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 30, 4, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 60])],
    )
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "products", *ends, constants),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "stored").mkdir()
    stored = store_weights(describe(tmp_path / "model.onnx"), "int8", tmp_path / "stored")
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(stored.path).graph.initializer}
    assert held["conv_int8"].dtype == held["matmul_int8"].dtype == held["gemm_int8"].dtype == np.int8
    assert [held[f"{name}_scale"].shape for name in weights] == [(40, 1, 1, 1), (1, 50), (60, 1)]
    for name, values in tensors.items():
        restored = held[f"{name}_int8"] * held[f"{name}_scale"]
        assert np.abs(restored - values).max() <= held[f"{name}_scale"].max() / 2 * 1.001
    assert not held["conv_int8"][3].any()
    pixels = np.random.default_rng(2).integers(0, 256, (3, 30, 4, 4), dtype=np.uint8)
    wide, found = answers(describe(tmp_path / "model.onnx"), pixels), answers(stored, pixels)
    assert np.abs(found - wide).max() < 0.02 * np.abs(wide).max()
