"""The model as an ONNX graph that keeps the contract: uint8 pictures in, probabilities out.

Knows no timm: a model, its normalisation and its input size are all it is given.
"""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_engines.errors import ExportError, last_line
from build_engines.values import SINGLE_FILE_LIMIT, Classifier, Graph, describe
from contract.config import INPUT, MODEL_FILE, OUTPUT
from contract.spec import Preprocessing

if TYPE_CHECKING:
    import torch
    from torch import nn

OPSET = 20
_CHATTY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def export_graph(classifier: Classifier, folder: Path, *, single_file_limit: int = SINGLE_FILE_LIMIT) -> Graph:
    """Write the graph of `classifier` into `folder`.

    Raises:
        ExportError: torch cannot export the model; the message names what it stumbled over.
    """
    return export_module(_with_ends(classifier), classifier.preprocessing, (OUTPUT,), folder, single_file_limit)


def export_module(
    module: "nn.Module",
    size: Preprocessing,
    outputs: Sequence[str],
    folder: Path,
    single_file_limit: int = SINGLE_FILE_LIMIT,
) -> Graph:
    """Write a module that takes the contract's pictures and gives `outputs` as a graph into `folder`.

    Raises:
        ExportError: torch cannot export the module; the message names what it stumbled over.
    """
    import torch

    path = folder / MODEL_FILE
    # Traced at 2, because torch.export takes a size of 1 for a constant.
    pictures = torch.zeros(2, size.height, size.width, 3, dtype=torch.uint8)
    try:
        program = _program(module, pictures, outputs)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"torch.onnx.export failed: {last_line(error)}") from error
    assert program is not None  # noqa: S101 (None only without dynamo)
    _cast_first(program.model.graph)
    _forget_machine(program.model)
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
    program.save(path, external_data=weights > single_file_limit)
    return describe(path)


def _program(module: "nn.Module", pictures: "torch.Tensor", outputs: Sequence[str]) -> "torch.onnx.ONNXProgram | None":
    """The exported model; with its attention written out where torch cannot export the fused one.

    With positions as a bias (BEiT) and a dynamic batch the strides of the fused attention's decomposition are not those
    that timm was promised. Written out it computes the same.
    """
    fused = [part for part in module.modules() if getattr(part, "fused_attn", False) is True]
    try:
        return _exported(module, pictures, outputs)
    except OSError:
        raise
    except Exception:
        if not fused:
            raise
    for part in fused:
        vars(part)["fused_attn"] = False
    return _exported(module, pictures, outputs)


def _exported(module: "nn.Module", pictures: "torch.Tensor", outputs: Sequence[str]) -> "torch.onnx.ONNXProgram | None":
    import torch

    with _quiet():
        return torch.onnx.export(
            module,
            (pictures,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )


def check_contract(graph: Graph, size: Preprocessing, outputs: Mapping[str, Sequence[int | str]]) -> None:
    """Demand a valid ONNX file whose tensors are those of the contract: one input of this size, and these outputs.

    Raises:
        ExportError: it is not; the message names what is wrong.
    """
    import onnx

    try:
        onnx.checker.check_model(str(graph.path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"onnx.checker refuses the graph: {last_line(error)}") from error
    proto = onnx.load(str(graph.path), load_external_data=False)
    first = proto.graph.node[0]
    if first.op_type != "Cast" or list(first.input) != [INPUT]:
        # TensorRT has no layers on UINT8 but the cast.
        raise ExportError(f"the first op must be the Cast of {INPUT!r}, is {first.op_type} of {list(first.input)}")
    users = [node.op_type for node in proto.graph.node if INPUT in node.input]
    if users != ["Cast"]:
        raise ExportError(f"only one Cast may read {INPUT!r}; {', '.join(users)} do")
    wanted: list[tuple[str, int, list[str | int]]] = [
        (INPUT, int(onnx.TensorProto.UINT8), ["batch", size.height, size.width, 3]),
        *((name, int(onnx.TensorProto.FLOAT), ["batch", *dims]) for name, dims in outputs.items()),
    ]
    found = [_signature(tensor) for tensor in (*proto.graph.input, *proto.graph.output)]
    if found != wanted:
        raise ExportError(f"the graph's input and output must be {wanted}, are {found}")


def _with_ends(classifier: Classifier) -> "nn.Module":
    """The model with the contract's two ends: uint8 `[batch, height, width, 3]` in, softmax out."""
    import torch
    from torch import nn

    class WithEnds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalise = normalising(classifier.mean, classifier.std)
            self.model = classifier.model

        def forward(self, image: "torch.Tensor") -> "torch.Tensor":
            return torch.softmax(self.model(self.normalise(image)), dim=-1)

    return WithEnds().eval()


def normalising(mean: Sequence[float], std: Sequence[float]) -> "nn.Module":
    """Pictures as served, uint8 `[batch, height, width, 3]`, as timm's models take them, `[batch, 3, height, width]`.

    `mean` and `std` are timm's, of levels from 0 to 1; here they are of 0..255, which saves one op.
    """
    import torch
    from torch import nn

    class Normalise(nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1))
            self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1))

        def forward(self, image: "torch.Tensor") -> "torch.Tensor":
            pictures = image.float().permute(0, 3, 1, 2)
            return (pictures - self.mean) / self.std

    return Normalise()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about its own workings; its errors are exceptions."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _cast_first(graph: Any) -> None:
    """Put the Cast before all other nodes, and let those that ask for the input's shape ask for its result's."""
    image = graph.inputs[0]
    cast = next((node for node in image.consumers() if node.op_type == "Cast"), None)
    if cast is None:
        return
    for node, index in tuple(image.uses()):
        if node is not cast and node.op_type == "Shape":
            node.replace_input_with(index, cast.outputs[0])
    if graph[0] is not cast:
        graph.remove(cast)
        graph.insert_before(graph[0], cast)


def _forget_machine(model: Any) -> None:
    """Drop the exporter's notes on nodes and values: stack traces with this machine's paths, half of a small file."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _signature(tensor: Any) -> tuple[str, int, list[str | int]]:
    kind = tensor.type.tensor_type
    return str(tensor.name), int(kind.elem_type), [dim.dim_param or int(dim.dim_value) for dim in kind.shape.dim]
