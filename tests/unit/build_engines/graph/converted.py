"""What the tests of lower precisions share: a trained ViT, pictures for it, and what a graph answers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import Message
from onnx import numpy_helper

from build_engines.graph.qdq import save_graph
from build_engines.pictures import made_pictures
from build_engines.values import Graph, describe
from contract.spec import Preprocessing

TRAINED = Path(__file__).parents[3] / "data" / "vit_nano" / "model.onnx"
"""Trained weights: of random ones, all answers are nearly alike."""

PIXELS = made_pictures(96, Preprocessing(32, 32, 1.0))


def answers(graph: Graph, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The probabilities, computed op by op as the graph says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(None, {"image": pixels})[0]
    return found


def sabotaged(graph: Graph, nodes: tuple[str, ...], factor: float, folder: Path) -> Graph:
    """`graph` with the ranges of what goes into `nodes`, but for weights, scaled by `factor`."""
    proto = onnx.load(graph.path)
    made = {node.output[0]: node for node in proto.graph.node}
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    scales: set[str] = set()
    for node in proto.graph.node:
        for name in node.input if node.name in nodes else ():
            dequantize = made.get(name)
            if dequantize is not None and dequantize.op_type == "DequantizeLinear":
                quantize = made[dequantize.input[0]]
                if quantize.input[0] not in tensors:
                    scales.update((quantize.input[1], dequantize.input[1]))
    for name in scales:
        scale = numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array((scale * factor).astype(scale.dtype), name))
    folder.mkdir()
    return save_graph(proto, folder)


def texts(message: Message) -> Iterator[str]:
    """Every text in a protobuf message. Not the bytes of its file: among those of weights, a short text may stand."""
    for field, value in message.ListFields():
        for each in value if field.is_repeated else (value,):
            if isinstance(each, Message):
                yield from texts(each)
            elif field.type in (field.TYPE_STRING, field.TYPE_BYTES) and field.name != "raw_data":
                yield each if isinstance(each, str) else each.decode(errors="replace")


def trained() -> Graph:
    """The FP32 graph."""
    return describe(TRAINED)
