"""What ONNX Runtime's own quantiser does in a conversion, where all layers convolve; a step for `run_apart`."""

# ruff: noqa: PLC0415 (onnx and ONNX Runtime take seconds to import; `build-engines --help` does not wait for them)

import math
from typing import Any

import numpy as np

from build_engines.graph.apart import Job
from build_engines.graph.calibration import batch_size
from build_engines.graph.layers import activations
from contract.config import INPUT


class _Batches:
    """ONNX Runtime's CalibrationDataReader: the pictures, a batch at a time, from one place to another."""

    def __init__(self, job: Job, source: str) -> None:
        self._pixels = np.load(job.work / "pixels.npy", mmap_mode="r")
        self._batch = batch_size(source)
        self._next, self._end = 0, len(self)

    def __len__(self) -> int:
        return math.ceil(len(self._pixels) / self._batch)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Batches to give from now on."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, uint8 `[n, height, width, 3]`, or None after the last."""
        if self._next >= self._end:
            return None
        start = self._next * self._batch
        self._next += 1
        return {INPUT: self._pixels[start : start + self._batch]}


def quantize_convolutions(job: Job, source: str) -> str:
    """Q/DQ pairs in front of convolutions and behind them, with FP32 between the others.

    ONNX Runtime computes a convolution in INT8 only where its answers and its bias are quantised too; with pairs in
    front alone, as TensorRT has them, it is slower than FP32. Answers are unsigned, so that the ReLU or clip behind a
    convolution is where the levels end anyway, and takes no time.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    model = onnx.load(job.work / source)
    behind = activations(model, job.layers)
    quantize_static(
        job.work / source,
        job.work / "quantized.onnx",
        _Batches(job, source),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=[*job.layers, *(node.name for node in behind)],
        calibrate_method=CalibrationMethod.MinMax if job.method == "max" else CalibrationMethod.Entropy,
        use_external_data_format=job.large,
        extra_options={
            "AddQDQPairToWeight": True,
            "CalibStridedMinMax": 1,  # Despite its name for each method: one batch is in memory at a time.
        },
    )
    quantised = onnx.load(job.work / "quantized.onnx")
    _put_back(quantised, behind, model)
    onnx.save(quantised, job.work / "quantized.onnx", save_as_external_data=job.large, location="quantized.data")
    return "quantized.onnx"


def _put_back(proto: Any, activations: tuple[Any, ...], model: Any) -> None:
    """Put `activations` of `model` back where the quantiser left the cut to the levels: their pair may be taken out."""
    there = {node.name for node in proto.graph.node}
    missing = {node.output[0]: node for node in activations if node.name not in there}
    nodes: list[Any] = []
    for node in proto.graph.node:
        nodes.append(node)
        if activation := missing.get(node.output[0]):
            node.output[0] = activation.input[0]
            nodes.append(activation)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    known = {tensor.name for tensor in proto.graph.initializer}
    bounds = {name for node in missing.values() for name in node.input} - known
    proto.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in bounds)
