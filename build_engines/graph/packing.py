"""Weights stored as the 8 bits that they are quantised to: a quarter of the bytes, the same answers.

ModelOpt leaves weights in FP32 with a QuantizeLinear behind them. `qdq.widen` needs them so; whoever serves does not.
"""

# ruff: noqa: PLC0415 (onnx takes a second to import; `build-engines --help` does not wait for it)

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from build_engines.graph.qdq import save_graph, sweep
from build_engines.values import Graph

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
