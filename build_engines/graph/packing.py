"""Weights in fewer bytes than the graph computes with.

ModelOpt leaves weights in FP32 with a QuantizeLinear behind them: stored as what comes out, they answer the same.
(`qdq.widen` needs them as they were; whoever serves does not.) Those of an FP32 graph can be stored in FP16 or INT8 as
well; ONNX Runtime folds the way back when it loads the graph, and computes as fast as before.
"""

# ruff: noqa: PLC0415 (onnx takes a second to import; `build-engines --help` does not wait for it)

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from build_engines.graph.layers import readers_of
from build_engines.graph.qdq import save_graph, sweep
from build_engines.values import Graph

WeightType = Literal["fp16", "int8"]

_LEAST = 1024
"""Values of a tensor that is worth it."""
_PRODUCTS = {"Conv": 0, "MatMul": -1, "Gemm": -1}
"""Ops that read weights, and the axis of the weights along which each output channel has its own scale."""
_SMALLEST = np.float32(1e-30)
"""Of a channel of zeros."""
_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def pack_weights(graph: Graph, folder: Path) -> Graph:
    """`graph` in `folder`, each QuantizeLinear of a weight computed already, as ONNX's specification of the op has it.

    Those that write other types than int8 and uint8, or that have a scale for each block of a row, stay as they are.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(str(graph.path))
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]:
        if set(node.input) <= tensors.keys() and not _attribute(node, "block_size", 0):
            weights, scale, *zero = (numpy_helper.to_array(tensors[name]) for name in node.input)
            if zero and zero[0].dtype.name in _RANGES:
                packed = quantised_weights(weights, scale, zero[0], _attribute(node, "axis", 1))
                proto.graph.initializer.append(numpy_helper.from_array(packed, node.output[0]))
                proto.graph.node.remove(node)
    sweep(proto)
    return save_graph(proto, folder)


def store_weights(graph: Graph, kind: WeightType, folder: Path) -> Graph:
    """An FP32 `graph` in `folder` whose weights are stored as `kind`, and cast to FP32 when it is loaded.

    In INT8 they have one scale for each output channel, so that the largest of them is 127.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(str(graph.path))
    readers = readers_of(proto)
    nodes: list[Any] = []
    for tensor in [each for each in proto.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]:
        values = numpy_helper.to_array(tensor)
        axes = {_channels(node, tensor.name, values.ndim) for node in readers.get(tensor.name, ())}
        if values.size < _LEAST or axes in (set(), {None}) or len(axes) > 1:
            continue
        (axis,) = axes
        assert axis is not None  # noqa: S101 (the set is not {None})
        name, stored = tensor.name, f"{tensor.name}_{kind}"
        cast = name if kind == "fp16" else f"{name}_levels"
        nodes.append(onnx.helper.make_node("Cast", [stored], [cast], name=cast, to=onnx.TensorProto.FLOAT))
        if kind == "fp16":
            packed: npt.NDArray[Any] = values.astype(np.float16)
        else:
            others = tuple(each for each in range(values.ndim) if each != axis)
            scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), _SMALLEST) / np.float32(127)
            packed = np.rint(values / scale).astype(np.int8)
            proto.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
            nodes.append(onnx.helper.make_node("Mul", [cast, f"{name}_scale"], [name], name=f"{name}_restored"))
        proto.graph.initializer.remove(tensor)
        proto.graph.initializer.append(numpy_helper.from_array(packed, stored))
    for place, node in enumerate(nodes, start=1):  # Behind the Cast of the input, which is first.
        proto.graph.node.insert(place, node)
    return save_graph(proto, folder)


def _channels(node: Any, weights: str, rank: int) -> int | None:
    """The axis of a node's weights along which its output channels are, or None where it is no product of them."""
    if node.op_type not in _PRODUCTS or node.input[1] != weights:
        return None
    if node.op_type == "Gemm" and _attribute(node, "transB", 0):
        return 0
    return _PRODUCTS[node.op_type] % rank


def quantised_weights(
    weights: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], zero: npt.NDArray[Any], axis: int
) -> npt.NDArray[Any]:
    """What QuantizeLinear makes of `weights`: as they are divided and rounded to even, in the type of `zero`.

    `scale` and `zero` are of one value, or of one for each place along `axis`.
    """
    along = [1] * weights.ndim
    if scale.size > 1:
        along[axis] = -1
    low, high = _RANGES[zero.dtype.name]
    levels = np.rint(weights / scale.reshape(along)) + zero.reshape(along).astype(np.float32)
    return np.clip(levels, low, high).astype(zero.dtype)


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)
