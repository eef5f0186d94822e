"""Taking Q/DQ pairs out, and the twin that quantises as TensorRT does, on graphs small enough to compute by hand."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_engines.errors import PrecisionError
from build_engines.graph.qdq import check_like, exact_twin, quantised, save_graph, strip
from build_engines.values import Graph
from tests.unit.build_engines.graph.converted import answers

SCALE = 0.37
TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
PICTURE = np.arange(12, dtype=np.uint8).reshape(2, 2, 1, 3)


def graph_of(folder: Path, before: str = "fp32", after: str = "fp32", weights: bool = True) -> Graph:
    """Cast, then x * w + x of a quantised x with a quantised w, back in FP32.

    Args:
        folder: For the graph.
        before: The type of x before it is quantised.
        after: The type of x and w when they come out again.
        weights: Whether w is quantised in the graph, or stored in 8 bits.
    """
    folder.mkdir()
    make = helper.make_node
    kinds = {"fp32": np.float32, "fp16": np.float16}
    constants: dict[str, npt.NDArray[Any]] = {
        "zero": np.array(0, np.int8),
        "scale_before": np.array(SCALE, kinds[before]),
        "scale_after": np.array(SCALE, kinds[after]),
        "w": np.array([0.5, 0.7, 0.9], kinds[after]) if weights else np.array([50, 70, 90], np.int8),
        "w_scale": np.array(0.01, kinds[after]),
    }
    w = [make("QuantizeLinear", ["w", "w_scale", "zero"], ["w_q"], name="w_quantize")] if weights else []
    nodes = [
        make("Cast", ["image"], ["cast"], name="cast", to=TensorProto.FLOAT),
        make("Cast", ["cast"], ["x"], name="to_x", to=TYPES[before]),
        *w,
        make("DequantizeLinear", ["w_q" if weights else "w", "w_scale", "zero"], ["w_dq"], name="w_dequantize"),
        make("QuantizeLinear", ["x", "scale_before", "zero"], ["x_q"], name="quantize"),
        make("DequantizeLinear", ["x_q", "scale_after", "zero"], ["x_dq"], name="dequantize"),
        make("Mul", ["x_dq", "w_dq"], ["product"], name="multiply"),
        make("Add", ["product", "x_dq"], ["sum"], name="add"),
        make("Cast", ["sum"], ["probabilities"], name="back", to=TensorProto.FLOAT),
    ]
    shape: list[str | int | None] = ["batch", 2, 1, 3]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=[helper.make_tensor_value_info("x_dq", TYPES[after], shape)],
    )
    return save_graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), folder)


def rounded(values: npt.NDArray[Any], scale: float) -> npt.NDArray[np.float64]:
    """What comes out of a Q/DQ pair: halves to even, as ONNX and TensorRT define it."""
    found: npt.NDArray[np.float64] = np.clip(np.rint(values.astype(np.float64) / scale), -128, 127) * scale
    return found


X, W = PICTURE.astype(np.float64), np.array([0.5, 0.7, 0.9])


def ops(graph: Graph) -> list[str]:
    return [node.op_type for node in onnx.load(graph.path).graph.node]


@pytest.mark.parametrize(("before", "after"), [("fp32", "fp32"), ("fp16", "fp16"), ("fp32", "fp16"), ("fp16", "fp32")])
def test_a_stripped_node_reads_what_was_not_quantised_and_the_others_do_not(
    tmp_path: Path, before: str, after: str
) -> None:
    graph = graph_of(tmp_path / "graph", before, after)
    assert quantised(onnx.load(graph.path)) == ("multiply", "add")
    (tmp_path / "one").mkdir()
    (tmp_path / "twin").mkdir()
    one = strip(graph, {"multiply"}, tmp_path / "one")
    onnx.checker.check_model(one.path, full_check=True)
    assert quantised(onnx.load(one.path)) == ("add",)
    found = answers(exact_twin(one, tmp_path / "twin"), PICTURE)
    assert np.allclose(found, X * W + rounded(X, SCALE), rtol=2e-3)
    assert not np.allclose(found, rounded(X, SCALE) * W + rounded(X, SCALE), rtol=2e-3)


def test_nothing_is_left_of_pairs_that_nobody_reads(tmp_path: Path) -> None:
    graph = graph_of(tmp_path / "graph")
    (tmp_path / "none").mkdir()
    none = strip(graph, {"multiply", "add"}, tmp_path / "none")
    proto = onnx.load(none.path)
    assert ops(none) == ["Cast", "Cast", "Mul", "Add", "Cast"]
    assert [tensor.name for tensor in proto.graph.initializer] == ["w"]
    assert [value.name for value in proto.graph.value_info] == []
    assert np.allclose(answers(none, PICTURE), X * W + X)
    assert none.sha256 != graph.sha256


def test_the_graph_itself_is_left_alone(tmp_path: Path) -> None:
    graph = graph_of(tmp_path / "graph")
    content = graph.path.read_bytes()
    (tmp_path / "one").mkdir()
    strip(graph, {"multiply"}, tmp_path / "one")
    exact_twin(graph, tmp_path / "one")
    assert graph.path.read_bytes() == content


def test_what_cannot_be_widened_is_refused(tmp_path: Path) -> None:
    graph = graph_of(tmp_path / "graph", weights=False)
    with pytest.raises(PrecisionError, match="multiply reads what is stored in 8 bits only"):
        strip(graph, {"multiply"}, tmp_path)
    with pytest.raises(PrecisionError, match="no node nowhere"):
        strip(graph, {"nowhere"}, tmp_path)


@pytest.mark.parametrize("before", ["fp32", "fp16"])
def test_the_twin_rounds(tmp_path: Path, before: str) -> None:
    graph = graph_of(tmp_path / "graph", before, before)
    (tmp_path / "twin").mkdir()
    twin = exact_twin(graph, tmp_path / "twin")
    onnx.checker.check_model(twin.path, full_check=True)
    check_like(twin, graph)
    assert np.allclose(answers(twin, PICTURE), rounded(X, SCALE) * rounded(W, 0.01) + rounded(X, SCALE), rtol=2e-3)
    assert (twin.sha256 == graph.sha256) == (before == "fp32")


def test_weights_beside_the_graph_stay_beside_it(tmp_path: Path) -> None:
    graph = graph_of(tmp_path / "graph")
    onnx.save(
        onnx.load(graph.path), graph.path, save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    (tmp_path / "one").mkdir()
    one = strip(graph, {"multiply"}, tmp_path / "one")
    assert [file.name for file in one.files] == ["model.onnx", "model.onnx.data"]
    assert sorted(os.listdir(tmp_path / "one")) == ["model.onnx", "model.onnx.data"]
    assert np.allclose(answers(one, PICTURE), X * W + rounded(X, SCALE))
    again = strip(graph, {"multiply"}, tmp_path / "one")
    assert again.sha256 == one.sha256


def test_weights_too_large_for_one_file_go_beside_it(tmp_path: Path) -> None:
    proto = onnx.load(graph_of(tmp_path / "graph").path)
    weights = np.arange(1000, dtype=np.float32).reshape(1000, 1)
    proto.graph.initializer.append(numpy_helper.from_array(weights, "large"))
    proto.graph.node.insert(1, helper.make_node("Identity", ["large"], ["unused"], name="unused"))
    for _ in range(2):
        saved = save_graph(proto, tmp_path, single_file_limit=1000)
        assert [file.name for file in saved.files] == ["model.onnx", "model.onnx.data"]
        assert 4000 <= saved.files[1].stat().st_size < 8000
        assert np.array_equal(numpy_helper.to_array(onnx.load(saved.path).graph.initializer[-1]), weights)
        proto = onnx.load(saved.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dangling", "onnx.checker refuses"),
        ("output type", "another output than the FP32 graph"),
        ("input name", "another input than the FP32 graph"),
        ("second reader", "alone read it; Cast, Shape do"),
        ("not first", "the first op must be the Cast"),
    ],
)
def test_a_graph_with_other_ends_is_refused(tmp_path: Path, change: str, message: str) -> None:
    graph = graph_of(tmp_path / "graph")
    proto = onnx.load(graph.path)
    match change:
        case "dangling":
            proto.graph.node[5].input[0] = "nowhere"
        case "output type":
            proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
            proto.graph.node[-1].attribute[0].i = TensorProto.FLOAT16
        case "input name":
            proto.graph.input[0].name = proto.graph.node[0].input[0] = "picture"
        case "second reader":
            proto.graph.node.append(helper.make_node("Shape", ["image"], ["unused"]))
        case "not first":
            proto.graph.node.insert(0, helper.make_node("Identity", ["w"], ["unused"]))
    (tmp_path / "other").mkdir()
    other = save_graph(proto, tmp_path / "other")
    with pytest.raises(PrecisionError, match=message):
        check_like(other, graph)
    check_like(graph, graph)
