"""An entry as Triton's `ModelConfig` protobuf, and back; and that protobuf as `config.pbtxt` text.

`read_config(from_pbtxt(to_pbtxt(write_config(entry, Scheduling()))))` is `entry` again.
"""

from dataclasses import dataclass
from enum import Enum

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.parameters import is_companion, is_ours, read_parameters, write_parameters
from contract.spec import ContractError, Entry, Fusion

INPUT = "image"
OUTPUT = "probabilities"
ROLLOUT = "rollout"
ATTENTION = "attention"
LABELS_FILE = "labels.txt"
MODEL_FILE = "model.onnx"
ENGINE_FILE = "model.plan"
CONFIG_FILE = "config.pbtxt"

_OPENVINO = "openvino"
"""Triton's name of the accelerator (model_config.proto, ModelOptimizationPolicy)."""
_HEADER = "# Written by build-engines from the entry's contract (docs/contract.md). Rebuild it rather than edit it.\n"


class Runtime(Enum):
    """What runs an entry."""

    ONNXRUNTIME = "onnxruntime"
    """ONNX Runtime on a CPU: `model.onnx`."""
    OPENVINO = "openvino"
    """OpenVINO on a CPU, in BF16: `model.onnx`, by ONNX Runtime's backend, of which it is an execution accelerator."""
    TENSORRT = "tensorrt"
    """TensorRT on a GPU: `model.plan`."""


QUEUE_DELAY_US = 0
"""How long Triton waits for a batch to fill, unless it is told. While one batch computes, the next one gathers by
itself; without preferred sizes a window is waited out whenever fewer than the most are queued (docs/builds.md, "The
window")."""


def graph_sizes(largest: int) -> tuple[int, ...]:
    """The batch sizes that an engine runs by a CUDA graph: 1, 2, 4 and so on up to `largest`, which is among them."""
    return tuple(sorted({2**power for power in range(largest.bit_length())} | {largest}))


def checked_sizes(largest: int) -> tuple[int, ...]:
    """The batch sizes at which answers are compared, in turn: 1, one between that has no graph, the largest, 1 again.

    The order lets a graph run after other sizes did, and lets a run without a graph come between two with one. Where
    every size has a graph, the second is one of those.
    """
    graphs = graph_sizes(largest)
    between = next((size for size in range(2, largest) if size not in graphs), min(2, largest))
    return 1, between, largest, 1


@dataclass(frozen=True)
class Scheduling:
    """How Triton queues and batches requests for an entry: choices of the operator, not of the model.

    There is no queue policy unless one is asked for, of engines neither: with any, Triton fetches no batch ahead, and
    2.51 stalled for 500 ms at a time (docs/decisions/0004-no-queue-policy.md). The gateway bounds what is in flight.
    """

    max_queue_delay_us: int | None = None
    """`QUEUE_DELAY_US` where it is None."""
    instances: int = 1
    max_queue_size: int = 0
    """Requests that may wait in Triton; more are rejected. 0 for no bound."""
    queue_timeout_us: int = 0
    """How long a request may wait in Triton before it is rejected. 0 for ever."""


def write_config(entry: Entry, scheduling: Scheduling, runtime: Runtime = Runtime.ONNXRUNTIME) -> ModelConfig:
    """The `ModelConfig` of an entry that `runtime` runs."""
    preprocessing = entry.preprocessing
    dims = [preprocessing.height, preprocessing.width, 3]
    config = ModelConfig(name=entry.name, max_batch_size=entry.max_batch_size)
    config.input.add(name=INPUT, data_type="TYPE_UINT8", format="FORMAT_NHWC", dims=dims)
    config.output.add(name=OUTPUT, data_type="TYPE_FP32", dims=[entry.classes], label_filename=LABELS_FILE)
    if (rollout := entry.explains) is not None:
        grid = [rollout.rows, rollout.columns]
        config.output.add(name=ROLLOUT, data_type="TYPE_FP32", dims=[len(Fusion), *grid])
        config.output.add(name=ATTENTION, data_type="TYPE_FP32", dims=[rollout.layers, rollout.heads, *grid])
    if runtime is Runtime.TENSORRT:
        config.platform = "tensorrt_plan"
        config.instance_group.add(count=scheduling.instances, kind="KIND_GPU")
        # Triton captures a graph for each of the sizes below, and runs other sizes without one.
        config.optimization.cuda.graphs = True
    else:
        config.backend = "onnxruntime"
        config.instance_group.add(count=scheduling.instances, kind="KIND_CPU")
    if runtime is Runtime.OPENVINO:
        accelerators = config.optimization.execution_accelerators
        accelerators.cpu_execution_accelerator.add(name=_OPENVINO, parameters={"precision": "BF16"})
    delay = scheduling.max_queue_delay_us
    config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US if delay is None else delay
    if scheduling.max_queue_size or scheduling.queue_timeout_us:
        policy = config.dynamic_batching.default_queue_policy
        policy.timeout_action = policy.REJECT
        policy.max_queue_size = scheduling.max_queue_size
        policy.default_timeout_microseconds = scheduling.queue_timeout_us
    largest = entry.max_batch_size
    for size in graph_sizes(largest) if runtime is Runtime.TENSORRT else sorted({1, largest}):
        if runtime is Runtime.TENSORRT:
            spec = config.optimization.cuda.graph_spec.add(batch_size=size)
            spec.input[INPUT].dim.extend(dims)
        warmup = config.model_warmup.add(name=f"batch of {size}", batch_size=size)
        warmup.inputs[INPUT].data_type = config.input[0].data_type
        warmup.inputs[INPUT].dims.extend(dims)
        warmup.inputs[INPUT].zero_data = True
    for key, value in write_parameters(entry).items():
        config.parameters[key].string_value = value
    return config


def runtime_of(config: ModelConfig) -> Runtime:
    """What runs an entry whose config `write_config` wrote."""
    if config.platform:
        return Runtime.TENSORRT
    accelerators = config.optimization.execution_accelerators.cpu_execution_accelerator
    return Runtime.OPENVINO if any(each.name == _OPENVINO for each in accelerators) else Runtime.ONNXRUNTIME


def read_config(config: ModelConfig) -> Entry | None:
    """The entry that a `ModelConfig` describes, or None where it does not claim to be one of ours.

    Raises:
        ContractError: it claims to be ours and is not whole.
    """
    parameters = {str(key): str(value.string_value) for key, value in config.parameters.items()}
    if not is_ours(parameters):
        return None
    companion = is_companion(parameters)
    (image,) = _tensors(config, "input", (INPUT,), "TYPE_UINT8")
    outputs = (OUTPUT, ROLLOUT, ATTENTION) if companion else (OUTPUT,)
    probabilities, *maps = _tensors(config, "output", outputs, "TYPE_FP32")
    if len(image) != 3 or image[2] != 3 or min(image) < 1:
        raise ContractError("input.dims", f"must be [height, width, 3], is {image}")
    entry = read_parameters(
        parameters,
        name=str(config.name),
        height=image[0],
        width=image[1],
        max_batch_size=int(config.max_batch_size),
        attention=_attention(*maps) if companion else None,
    )
    if probabilities != [entry.classes]:
        raise ContractError(
            "contract.labels", f"names {entry.classes} classes, but the output {OUTPUT!r} has dims {probabilities}"
        )
    return entry


def to_pbtxt(config: ModelConfig) -> str:
    """The text of a `config.pbtxt` file."""
    return _HEADER + str(text_format.MessageToString(config, as_utf8=True))


def from_pbtxt(text: str) -> ModelConfig:
    """The protobuf of a `config.pbtxt` file.

    Raises:
        ContractError: the text is not a model configuration.
    """
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ContractError(CONFIG_FILE, f"is not a Triton model configuration: {error}") from None


def _attention(rollout: list[int], attention: list[int]) -> tuple[int, int, int, int]:
    """Layers, heads, rows and columns of a companion's outputs."""
    if len(attention) != 4 or rollout != [len(Fusion), *attention[2:]]:
        raise ContractError(
            "output.dims",
            f"{ROLLOUT!r} must be [{len(Fusion)}, rows, columns] and {ATTENTION!r} [layers, heads, rows, columns]; "
            f"they are {rollout} and {attention}",
        )
    layers, heads, rows, columns = attention
    return layers, heads, rows, columns


def _tensors(config: ModelConfig, side: str, wanted: tuple[str, ...], data_type: str) -> list[list[int]]:
    """The dims of the tensors on `side`, which must have these names, in this order, and this type."""
    tensors = [(str(tensor.name), tensor.data_type, tensor.dims) for tensor in getattr(config, side)]
    descriptor = config.DESCRIPTOR.fields_by_name[side].message_type.fields_by_name["data_type"].enum_type
    # A Triton newer than this protobuf may have types that it does not name.
    names = {number: value.name for number, value in descriptor.values_by_number.items()}
    found = [(tensor, names.get(number, str(number))) for tensor, number, _ in tensors]
    if found != [(name, data_type) for name in wanted]:
        words = "one tensor" if len(wanted) == 1 else "the tensors"
        raise ContractError(
            side, f"must be {words} {', '.join(map(repr, wanted))} of {data_type}; the entry has {found}"
        )
    return [[int(dim) for dim in dims] for _, _, dims in tensors]
