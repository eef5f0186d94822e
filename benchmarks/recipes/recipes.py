"""The recipes: how each turns an FP32 graph into one that a CPU computes faster, and what runs it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from benchmarks.openvino_runs import no_bf16, no_openvino, open_in_openvino
from build_engines.graph import Recipe, convert, open_graph, pack_weights
from build_engines.graph.layers import heads, layers
from build_engines.values import Graph, Pixels, Precision, Probabilities
from contract.config import INPUT, MODEL_FILE

Run = Callable[[Pixels], Probabilities]
"""Uint8 `[n, height, width, 3]` to float32 `[n, classes]`."""
_CALIBRATION_BATCH = 8


class Made(NamedTuple):
    """A model by one recipe."""

    run: Run
    megabytes: float
    """Of its file."""


def fp32(graph: Graph, _: Pixels, __: Path) -> Made:
    """As it was exported."""
    return _opened(graph.path)


def builder(graph: Graph, calibration: Pixels, folder: Path) -> Made:
    """What `build-engines --precision int8` makes: ModelOpt, matrix products, convolutions where there are none."""
    return _opened(_built(graph, calibration, folder).path)


def _built(graph: Graph, calibration: Pixels, folder: Path) -> Graph:
    (folder / "packed").mkdir()
    wide = convert(graph, Recipe(Precision.INT8, for_engine=False), calibration, folder)
    return pack_weights(wide, folder=folder / "packed")


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # (untyped)
    def __init__(self, pixels: Pixels) -> None:
        starts = range(0, len(pixels) - _CALIBRATION_BATCH + 1, _CALIBRATION_BATCH)
        self._batches: Iterator[dict[str, Pixels]] = iter(
            [{INPUT: pixels[start : start + _CALIBRATION_BATCH]} for start in starts]
        )

    def get_next(self) -> dict[str, Pixels] | None:
        """See ONNX Runtime's interface."""
        return next(self._batches, None)


def static(activations: QuantType, *, everything: bool) -> Callable[[Graph, Pixels, Path], Made]:
    """ONNX Runtime's own quantiser with ranges from pictures, one scale for each output channel."""

    def make(graph: Graph, calibration: Pixels, folder: Path) -> Made:
        proto = _plain(graph)
        constants = {tensor.name for tensor in proto.graph.initializer}
        weighted = [
            node.name
            for node in proto.graph.node
            if node.op_type in ("Conv", "Gemm", "MatMul") and constants.intersection(node.input[1:2])
        ]
        chosen = [name for name in weighted if name not in heads(proto)] if everything else list(layers(proto))
        path = folder / MODEL_FILE
        quantize_static(
            proto,
            str(path),
            _Reader(calibration),
            per_channel=True,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=chosen,
            extra_options={"ActivationSymmetric": activations is QuantType.QInt8},
        )
        return _opened(path)

    return make


def dynamic(graph: Graph, _: Pixels, folder: Path) -> Made:
    """ONNX Runtime's own quantiser, matrix products with ranges found anew in each run."""
    path = folder / MODEL_FILE
    proto = _plain(graph)
    quantize_dynamic(
        proto,
        str(path),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=list(heads(proto)),
    )
    return _opened(path)


def _plain(graph: Graph) -> onnx.ModelProto:
    """Without notes on shapes, with which ONNX Runtime's quantiser does not agree where it transposes weights."""
    proto = onnx.load(str(graph.path))
    del proto.graph.value_info[:]
    return proto


def openvino(*, bf16: bool = False, int8: bool = False) -> Callable[[Graph, Pixels, Path], Made]:
    """OpenVINO with the builder's INT8 graph, or that in FP32, multiplied in BF16 or not."""

    def make(graph: Graph, calibration: Pixels, folder: Path) -> Made:
        if int8:
            graph = _built(graph, calibration, folder)
        return Made(open_in_openvino(graph.path, bf16=bf16), _megabytes(graph.path))

    return make


class Way(NamedTuple):
    """One recipe."""

    make: Callable[[Graph, Pixels, Path], Made]
    """The FP32 graph, pictures for ranges, an empty folder."""
    why_not: Callable[[], str] = lambda: ""
    """Why it cannot run here; empty where it can."""


WAYS: Mapping[str, Way] = {
    "FP32": Way(fp32),
    "INT8, the builder's": Way(builder),
    "INT8, static U8S8, products": Way(static(QuantType.QUInt8, everything=False)),
    "INT8, static U8S8, convolutions too": Way(static(QuantType.QUInt8, everything=True)),
    "INT8, static S8S8, convolutions too": Way(static(QuantType.QInt8, everything=True)),
    "INT8, dynamic": Way(dynamic),
    "OpenVINO FP32": Way(openvino(), no_openvino),
    "OpenVINO BF16": Way(openvino(bf16=True), lambda: no_openvino() or no_bf16()),
    "OpenVINO, the builder's INT8": Way(openvino(int8=True), no_openvino),
}
"""In the order of the tables; ONNX Runtime where nothing else is said. U8S8: unsigned activations, signed weights."""


def _opened(path: Path) -> Made:
    return Made(open_graph(path).run, _megabytes(path))


def _megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1e6
