"""ModelOpt in a process of its own: it prints, patches ONNX Runtime, and leaves files in the temporary folder."""

# ruff: noqa: PLC0415 (onnx and ModelOpt take seconds to import; `build-engines --help` does not wait for them)

import contextlib
import errno
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from build_engines.errors import PrecisionError, last_line
from build_engines.values import Precision
from contract.config import INPUT

HIGH = ("LayerNormalization", "Softmax")
"""Ops that are never quantised."""
_BATCH = 8
_BATCH_BYTES = 4 * 2**30
"""Of all activations of one batch of a calibration, not all of which are there at a time."""
_RANGE_PICTURES = 32
_RANGE_BYTES = 2 * 2**30
"""Of all activations of the pictures that AutoCast finds overflows with; it keeps them all at once. A few pictures do,
because it takes for unsafe what is over 512, a hundredth of what FP16 holds."""

_MESSAGE = 1000
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Job:
    """What other processes do with `source.onnx` and `pixels.npy` in the folder `work`."""

    work: Path
    precision: Precision
    method: str
    engine: bool
    attention: bool
    ends: tuple[str, ...]
    heads: tuple[str, ...]
    layers: tuple[str, ...]
    large: bool


Work = Callable[[Job, str], str]
"""Is given the name of the graph in `Job.work` that it starts from, and gives the name of the one that it writes."""


def run_apart(step: Work, job: Job, source: str) -> str:
    """Do one step in a process of its own, which gives its memory back.

    A fork server imports ModelOpt once (8 s) for all steps of a build, and has no threads when it forks.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["modelopt.onnx.autocast", "modelopt.onnx.quantization"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(step, job, source, sender), daemon=True)
    process.start()
    sender.close()
    try:
        process.join()
    finally:
        process.kill()
        process.join()
    number, text = None, f"its process ended with {process.exitcode}"
    if process.exitcode == -signal.SIGKILL:
        text = "its process was killed; there may be too little memory for this model"
    # A process that was killed may leave nothing, which reads as the end.
    with receiver, contextlib.suppress(EOFError):
        number, text = receiver.recv() if receiver.poll() else (number, text)
    if process.exitcode == 0:
        return str(text)
    if number is not None:
        raise OSError(number, os.strerror(number))
    raise PrecisionError(f"ModelOpt cannot bring the graph to {job.precision.value}: {text}")


def _work(step: Work, job: Job, source: str, sender: Connection) -> None:
    """The other process, which prints nothing, leaves nothing outside `job.work`, and ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(job.work / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    tempfile.tempdir = str(job.work)
    os.chdir(job.work)
    try:
        sender.send((None, step(job, source)))
    except BaseException as error:
        number = error.errno if isinstance(error, OSError) and error.errno in _DISK_FULL else None
        # Short enough for the pipe, which is read when this process has ended.
        sender.send((number, last_line(error)[:_MESSAGE]))
        raise


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def quantize(job: Job, source: str) -> str:
    """Q/DQ pairs, with FP32 between them."""
    from modelopt.onnx.quantization import ort_patching
    from modelopt.onnx.quantization import quantize as quantize_by_modelopt

    _calibrate_inputs_only(ort_patching)
    pixels = np.load(job.work / "pixels.npy", mmap_mode="r")
    batch = max(1, min(_BATCH, _BATCH_BYTES // _activations(source)))
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
    pictures = max(1, min(_RANGE_PICTURES, len(pixels), _RANGE_BYTES // _activations("source.onnx")))
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


def _activations(source: str) -> int:
    """Bytes of all tensors that the graph computes for one picture."""
    import onnx

    proto = onnx.load(source, load_external_data=False)
    for tensor in proto.graph.initializer:
        if len(tensor.raw_data) > 1024:
            tensor.ClearField("raw_data")  # Shapes follow from small tensors; the large ones would be copied.
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    made = {output for node in proto.graph.node for output in node.output}
    shapes = [value.type.tensor_type.shape.dim for value in inferred.graph.value_info if value.name in made]
    return sum((4 * math.prod(max(1, int(dim.dim_value)) for dim in shape) for shape in shapes), 1)


def _kinds(source: str, names: Sequence[str]) -> list[str]:
    import onnx

    nodes = onnx.load(source, load_external_data=False).graph.node
    return sorted({str(node.op_type) for node in nodes if node.name in names})
