"""What ModelOpt does in a conversion; each function is a step for `run_apart`."""

# ruff: noqa: PLC0415 (onnx and ModelOpt take seconds to import; `build-engines --help` does not wait for them)

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from build_engines.graph.apart import Job
from build_engines.graph.calibration import activation_bytes, batch_size
from contract.config import INPUT

HIGH = ("LayerNormalization", "Softmax")
"""Ops that are never quantised."""
_RANGE_PICTURES = 32
_RANGE_BYTES = 2 * 2**30
"""Of all activations of the pictures that AutoCast finds overflows with; it keeps them all at once. A few pictures do,
because it takes for unsafe what is over 512, a hundredth of what FP16 holds."""


def quantize(job: Job, source: str) -> str:
    """Q/DQ pairs, with FP32 between them."""
    from modelopt.onnx.quantization import ort_patching
    from modelopt.onnx.quantization import quantize as quantize_by_modelopt

    _calibrate_inputs_only(ort_patching)
    pixels = np.load(job.work / "pixels.npy", mmap_mode="r")
    batch = batch_size(source)
    size = "x".join(str(side) for side in pixels.shape[1:])
    chosen: dict[str, Any] = {"op_types_to_exclude": list(HIGH)}
    if not job.engine:
        kinds = _kinds(source, job.layers)
        chosen = {
            "nodes_to_quantize": list(job.layers),
            "op_types_to_quantize": kinds,
            "enable_gemv_detection_for_trt": False,
        }
    quantize_by_modelopt(
        str(job.work / source),
        quantize_mode=job.precision.value,
        calibration_method=job.method,
        calibration_data={INPUT: pixels},
        calibration_shapes=f"{INPUT}:{batch}x{size}",
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        disable_mha_qdq=not job.attention,
        nodes_to_exclude=list(job.heads),
        use_external_data_format=job.large,
        output_path=str(job.work / "quantized.onnx"),
        log_level="ERROR",
        **chosen,
    )
    return "quantized.onnx"


def cast(job: Job, source: str) -> str:
    """FP16 wherever the values that the pictures cause fit into it, except at the ends."""
    import onnx
    from modelopt.onnx.autocast import convert_to_mixed_precision

    mixed = convert_to_mixed_precision(
        source,
        low_precision_type="fp16",
        nodes_to_exclude=[f"{name}$" for name in (*job.ends, *_overflowing(job))],
        keep_io_types=True,
        data_max=math.inf,
        providers=["cpu"],
    )
    onnx.save(mixed, "cast.onnx", save_as_external_data=job.large, location="cast.data")
    return "cast.onnx"


def _overflowing(job: Job) -> list[str]:
    """The nodes of the FP32 graph that AutoCast holds to be unsafe in FP16, by the values that the pictures cause.

    AutoCast would run the graph that it converts, which ONNX Runtime refuses where that has FP8.
    """
    import onnx
    from modelopt.onnx.autocast.convert import DEFAULT_DATA_MAX
    from modelopt.onnx.autocast.nodeclassifier import IORangeRule
    from modelopt.onnx.autocast.referencerunner import ReferenceRunner

    pixels = np.load(job.work / "pixels.npy", mmap_mode="r")
    pictures = max(1, min(_RANGE_PICTURES, len(pixels), _RANGE_BYTES // activation_bytes("source.onnx")))
    spread = np.linspace(0, len(pixels) - 1, pictures).astype(int)
    model = onnx.load("source.onnx")
    rule = IORangeRule(DEFAULT_DATA_MAX, ReferenceRunner(model, ["cpu"]).run({INPUT: pixels[spread]}), {})
    return [str(node.name) for node in model.graph.node if rule.check(node)]


def _calibrate_inputs_only(ort_patching: Any) -> None:
    """Let ModelOpt find ranges of what is quantised only: what goes into the layers, and not what comes out of them.

    It would make histograms of both, which takes longer than all inference.
    """
    select = ort_patching._select_tensors_to_calibrate

    def select_inputs(calibrator: Any, model: Any) -> tuple[set[str], dict[str, Any]]:
        tensors, infos = select(calibrator, model)
        # ModelOpt passes names of nodes where ONNX Runtime has types of ops.
        nodes = set(calibrator.op_types_to_calibrate)
        return tensors & {name for node in model.graph.node if node.name in nodes for name in node.input}, infos

    ort_patching._select_tensors_to_calibrate = select_inputs


def _kinds(source: str, names: Sequence[str]) -> list[str]:
    import onnx

    nodes = onnx.load(source, load_external_data=False).graph.node
    return sorted({str(node.op_type) for node in nodes if node.name in names})
