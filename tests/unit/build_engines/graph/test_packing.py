"""Weights stored in 8 bits: the same answers from a quarter of the bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from build_engines.graph import Recipe, convert, pack_weights
from build_engines.graph.packing import quantised_weights
from build_engines.graph.qdq import has_pairs
from build_engines.values import Precision, describe
from tests.unit.build_engines.graph.converted import PIXELS, answers, bundled


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
    return convert(bundled(), recipe, PIXELS, tmp_path_factory.mktemp("wide"))


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
    packed = pack_weights(bundled(), tmp_path)
    assert np.array_equal(answers(packed, PIXELS), answers(bundled(), PIXELS))


def test_weights_beside_the_graph_are_packed_too(wide: Any, tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    proto = onnx.load(wide.path)
    onnx.save(
        proto, tmp_path / "beside" / "model.onnx", save_as_external_data=True, location="w.data", size_threshold=0
    )
    (tmp_path / "packed").mkdir()
    packed = pack_weights(describe(tmp_path / "beside" / "model.onnx"), tmp_path / "packed")
    assert np.array_equal(answers(packed, PIXELS), answers(wide, PIXELS))
