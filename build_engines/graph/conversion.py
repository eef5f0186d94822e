"""From the FP32 graph to one of a lower precision, by ModelOpt: FP16 by casts, INT8 and FP8 by Q/DQ pairs.

ModelOpt runs in a process of its own, because it prints, patches ONNX Runtime, and leaves files in the temporary
folder. Knows no engine and no gate.
"""

# ruff: noqa: PLC0415 (onnx and ModelOpt take seconds to import; `build-engines --help` does not wait for them)

import contextlib
import errno
import math
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from build_engines.errors import PrecisionError
from build_engines.graph.qdq import check_like, save, widen
from build_engines.values.graph import Graph
from build_engines.values.precision import Precision
from contract.config import INPUT

RECIPE_VERSION = {Precision.FP16: 1, Precision.INT8: 1, Precision.FP8: 1}
"""Raised where the same inputs give another graph than before, so that only that precision is built anew."""
_LIBRARIES = ("nvidia-modelopt", "onnx", "onnxruntime-gpu")

_BATCH = 8
_BATCH_BYTES = 4 * 2**30
"""Of all activations of one batch of a calibration, not all of which are there at a time."""
_RANGE_PICTURES = 32
_RANGE_BYTES = 2 * 2**30
"""Of all activations of the pictures that AutoCast finds overflows with; it keeps them all at once. A few pictures do,
because it takes for unsafe what is over 512, a hundredth of what FP16 holds."""

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LINEAR = frozenset(
    ("Add", "Cast", "Concat", "Constant", "Div", "Expand", "Flatten", "Gather", "GlobalAveragePool", "Identity", "Mul")
) | frozenset(("ReduceMean", "Reshape", "Shape", "Slice", "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze"))
"""What may follow a head: it mixes or averages logits, and gives probabilities."""

_HIGH = ("LayerNormalization", "Softmax")

_MESSAGE = 1000
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Recipe:
    """How a graph is brought to a lower precision.

    Raises:
        PrecisionError: the recipe makes no sense.
    """

    precision: Precision
    for_engine: bool
    """Whether TensorRT compiles the graph; else ONNX Runtime runs it on a CPU."""
    method: Literal["entropy", "max"] = "entropy"
    """How ranges follow from what is seen: `entropy` may cut outliers off, `max` never does. Not for FP16."""
    keep: tuple[str, ...] = ()
    """Names of nodes that compute in high precision in any case."""

    def __post_init__(self) -> None:
        if self.precision not in RECIPE_VERSION:
            raise PrecisionError(f"{self.precision.value} is what the others are made from; ask for fp16, int8 or fp8")
        if self.precision is Precision.FP8 and not self.for_engine:
            raise PrecisionError("fp8 is for engines only, ONNX Runtime has no fast FP8 on a CPU; ask for int8")

    @property
    def key(self) -> str:
        """One line that differs where the result may."""
        words = [self.precision.value, f"recipe={RECIPE_VERSION[self.precision]}"]
        if self.precision is not Precision.FP16:
            words += ["for=engine" if self.for_engine else "for=cpu", f"method={self.method}"]
        words += [f"{library}={version(library)}" for library in _LIBRARIES]
        return " ".join([*words, f"keep={','.join(sorted(set(self.keep)))}"])


def convert(graph: Graph, recipe: Recipe, pixels: Pixels, folder: Path) -> Graph:
    """Write `graph`, an FP32 one, at a lower precision into `folder`, with ranges from `pixels`.

    `pixels` are uint8 `[pictures, height, width, 3]`, as served. The input's normalisation, the heads and the last
    softmax stay FP32; the attention's softmax and LayerNorm stay at least FP16.

    Raises:
        PrecisionError: ModelOpt failed, or what it made breaks the contract.
    """
    import onnx

    proto = onnx.load(str(graph.path), load_external_data=False)
    names = [node.name for node in proto.graph.node]
    if len(set(names)) != len(names) or not all(names):
        raise PrecisionError("the graph's nodes must have names, each its own; export the model again")
    unknown = set(recipe.keep) - set(names)
    if unknown:
        raise PrecisionError(f"the graph has no node {', '.join(sorted(unknown))}; name nodes as the FP32 graph does")
    if recipe.precision is not Precision.FP16 and not set(layers(proto)) - set(recipe.keep):
        raise PrecisionError("nothing is left to quantise but the head; keep fewer layers, or ask for fp16")
    with tempfile.TemporaryDirectory(prefix=".precision-", dir=folder) as scratch:
        work = Path(scratch)
        # ModelOpt takes names for regular expressions that match beginnings: n1 would stand for n10 too, and an
        # exclusion would hit its neighbours. Of names of one length, none is the beginning of another.
        short = {name: f"n{index:06d}" for index, name in enumerate(names)}
        np.save(work / "pixels.npy", pixels)
        for file in graph.files:
            if file != graph.path:
                shutil.copyfile(file, work / file.name)
        for node in proto.graph.node:
            node.name = short[node.name]
        onnx.save(proto, str(work / "source.onnx"))
        job = _Job(
            work=work,
            precision=recipe.precision,
            method=recipe.method,
            engine=recipe.for_engine,
            ends=(*front(proto), *back(proto)),
            heads=heads(proto),
            keep=tuple(short[name] for name in recipe.keep),
            layers=layers(proto),
            large=len(graph.files) > 1,
        )
        if recipe.precision is Precision.FP16:
            written = _apart(_cast, job, "source.onnx")
        else:
            written = _apart(_quantize, job, "source.onnx")
            if recipe.for_engine:
                written = _apart(_cast, job, written)
        result = onnx.load(str(work / written))
        _tidy(result, {renamed: name for name, renamed in short.items()})
        # Where one reader of a tensor is quantised, ModelOpt lets all of them read what was.
        high = {node.name for node in result.graph.node if node.op_type in _HIGH}
        high.update(recipe.keep, (name for name in names if short[name] in job.ends))
        widen(result, high.intersection(node.name for node in result.graph.node))
        converted = save(result, folder)
    check_like(converted, graph)
    return converted


def heads(proto: Any) -> tuple[str, ...]:
    """The layers with weights whose answers reach the output of an `onnx.ModelProto` as they are, but for averages.

    There may be several: distilled models have two heads.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    readers = _readers(proto)
    linear: dict[str, bool] = {}
    found = []
    for node in reversed(proto.graph.node):
        after = [reader for output in node.output for reader in readers.get(output, ())]
        follows = all(linear[reader.name] and reader.op_type in _LINEAR for reader in after)
        linear[node.name] = follows
        if follows and node.op_type in _WEIGHTED and constants.intersection(node.input[1:2]):
            found.append(node.name)
    return tuple(reversed(found))


def front(proto: Any) -> tuple[str, ...]:
    """The nodes before the first layer: the Cast and the normalisation."""
    names: list[str] = []
    for node in proto.graph.node:
        if node.op_type in _WEIGHTED:
            break
        names.append(node.name)
    return tuple(names)


def back(proto: Any) -> tuple[str, ...]:
    """The heads, and all that follows them."""
    readers = _readers(proto)
    names = set(heads(proto))
    for node in proto.graph.node:
        if node.name in names:
            names.update(reader.name for output in node.output for reader in readers.get(output, ()))
    return tuple(node.name for node in proto.graph.node if node.name in names)


def layers(proto: Any) -> tuple[str, ...]:
    """The nodes that pay in 8 bits on a CPU: matrix products with weights, convolutions only where there are none.

    On the bundled model, which has both, 2,000 pictures took 4.4 s in FP32, 3.6 s with the products in INT8, and 4.8 s
    with the convolutions too.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    last = heads(proto)
    weighted = [node for node in proto.graph.node if node.name not in last and constants.intersection(node.input[1:2])]
    products = tuple(node.name for node in weighted if node.op_type in ("Gemm", "MatMul"))
    return products or tuple(node.name for node in weighted if node.op_type == "Conv")


@dataclass(frozen=True)
class _Job:
    """What other processes do with `source.onnx` and `pixels.npy` in the folder `work`."""

    work: Path
    precision: Precision
    method: str
    engine: bool
    ends: tuple[str, ...]
    heads: tuple[str, ...]
    keep: tuple[str, ...]
    layers: tuple[str, ...]
    large: bool


_Step = Callable[[_Job, str], str]
"""Is given the name of the graph in `_Job.work` that it starts from, and gives the name of the one that it writes."""


def _apart(step: _Step, job: _Job, source: str) -> str:
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


def _work(step: _Step, job: _Job, source: str, sender: Connection) -> None:
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
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # Short enough for the pipe, which is read when this process has ended.
        sender.send((number, f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"[:_MESSAGE]))
        raise


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _quantize(job: _Job, source: str) -> str:
    """Q/DQ pairs, with FP32 between them."""
    from modelopt.onnx.quantization import ort_patching, quantize

    _calibrate_inputs_only(ort_patching)
    pixels = np.load(job.work / "pixels.npy", mmap_mode="r")
    batch = max(1, min(_BATCH, _BATCH_BYTES // _activations(source)))
    size = "x".join(str(side) for side in pixels.shape[1:])
    chosen: dict[str, Any] = {"op_types_to_exclude": list(_HIGH)}
    if not job.engine:
        nodes = [name for name in job.layers if name not in job.keep]
        kinds = _kinds(source, nodes)
        chosen = {"nodes_to_quantize": nodes, "op_types_to_quantize": kinds, "enable_gemv_detection_for_trt": False}
    quantize(
        str(job.work / source),
        quantize_mode=job.precision.value,
        calibration_method=job.method,
        calibration_data={INPUT: pixels},
        calibration_shapes=f"{INPUT}:{batch}x{size}",
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        disable_mha_qdq=True,
        nodes_to_exclude=[*job.heads, *job.keep],
        use_external_data_format=job.large,
        output_path=str(job.work / "quantized.onnx"),
        log_level="ERROR",
        **chosen,
    )
    return "quantized.onnx"


def _cast(job: _Job, source: str) -> str:
    """FP16 wherever the values that the pictures cause fit, but for the ends."""
    import onnx
    from modelopt.onnx.autocast import convert_to_mixed_precision

    keep = job.keep if job.precision is Precision.FP16 else ()
    mixed = convert_to_mixed_precision(
        source,
        low_precision_type="fp16",
        nodes_to_exclude=[f"{name}$" for name in (*job.ends, *keep, *_overflowing(job))],
        keep_io_types=True,
        data_max=math.inf,
        providers=["cpu"],
    )
    onnx.save(mixed, "cast.onnx", save_as_external_data=job.large, location="cast.data")
    return "cast.onnx"


def _overflowing(job: _Job) -> list[str]:
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


def _readers(proto: Any) -> dict[str, list[Any]]:
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _tidy(proto: Any, names: Mapping[str, str]) -> None:
    """Give nodes the names they had, put the input's Cast first again, and drop notes about this machine."""
    nodes = proto.graph.node
    for node in nodes:
        node.name = names.get(node.name, node.name)
        node.doc_string = ""
        del node.metadata_props[:]
    first = next((index for index, node in enumerate(nodes) if INPUT in node.input), 0)
    nodes.insert(0, nodes.pop(first))
    proto.doc_string = ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer):
        value.doc_string = ""
