"""An entry as Triton's `ModelConfig` protobuf, and back; and that protobuf as `config.pbtxt` text.

`read_config(from_pbtxt(to_pbtxt(write_config(entry, Scheduling()))))` is `entry` again.
"""

from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.parameters import is_ours, read_parameters, write_parameters
from contract.spec import ContractError, Entry

INPUT = "image"
OUTPUT = "probabilities"
LABELS_FILE = "labels.txt"
MODEL_FILE = "model.onnx"
CONFIG_FILE = "config.pbtxt"

_HEADER = "# Written by build-engines from the entry's contract (docs/contract.md). Rebuild it rather than edit it.\n"


@dataclass(frozen=True)
class Scheduling:
    """How Triton queues and batches requests for an entry: choices of the operator, not of the model.

    The defaults are for ONNX on a CPU. A batching window only added latency there: while one batch computes, the
    next one gathers by itself. There is no queue policy to set, because any made Triton 2.51 stall for 500 ms at a
    time (docs/decisions/0004-no-queue-policy.md); the gateway bounds what is in flight.
    """

    max_queue_delay_us: int = 0
    instances: int = 1


def write_config(entry: Entry, scheduling: Scheduling) -> ModelConfig:
    """The `ModelConfig` of an ONNX entry that runs on a CPU."""
    preprocessing = entry.preprocessing
    dims = [preprocessing.height, preprocessing.width, 3]
    config = ModelConfig(name=entry.name, backend="onnxruntime", max_batch_size=entry.max_batch_size)
    config.input.add(name=INPUT, data_type="TYPE_UINT8", dims=dims)
    config.output.add(name=OUTPUT, data_type="TYPE_FP32", dims=[entry.classes], label_filename=LABELS_FILE)
    config.instance_group.add(count=scheduling.instances, kind="KIND_CPU")
    config.dynamic_batching.max_queue_delay_microseconds = scheduling.max_queue_delay_us
    for size in sorted({1, entry.max_batch_size}):
        warmup = config.model_warmup.add(name=f"batch of {size}", batch_size=size)
        warmup.inputs[INPUT].data_type = config.input[0].data_type
        warmup.inputs[INPUT].dims.extend(dims)
        warmup.inputs[INPUT].zero_data = True
    for key, value in write_parameters(entry).items():
        config.parameters[key].string_value = value
    return config


def read_config(config: ModelConfig) -> Entry | None:
    """The entry that a `ModelConfig` describes, or None where it does not claim to be one of ours.

    Raises:
        ContractError: it claims to be ours and is not whole.
    """
    parameters = {str(key): str(value.string_value) for key, value in config.parameters.items()}
    if not is_ours(parameters):
        return None
    image = _only(config, "input", INPUT, "TYPE_UINT8")
    probabilities = _only(config, "output", OUTPUT, "TYPE_FP32")
    if len(image) != 3 or image[2] != 3 or min(image) < 1:
        raise ContractError("input.dims", f"must be [height, width, 3], is {image}")
    entry = read_parameters(
        parameters,
        name=str(config.name),
        height=image[0],
        width=image[1],
        max_batch_size=int(config.max_batch_size),
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


def _only(config: ModelConfig, side: str, name: str, data_type: str) -> list[int]:
    """The dims of the one tensor on `side`, which must have this name and type."""
    tensors = [(str(tensor.name), tensor.data_type, tensor.dims) for tensor in getattr(config, side)]
    descriptor = config.DESCRIPTOR.fields_by_name[side].message_type.fields_by_name["data_type"].enum_type
    found = [(tensor, descriptor.values_by_number[number].name) for tensor, number, _ in tensors]
    if found != [(name, data_type)]:
        raise ContractError(side, f"must be one tensor {name!r} of {data_type}; the entry has {found}")
    return [int(dim) for dim in tensors[0][2]]
