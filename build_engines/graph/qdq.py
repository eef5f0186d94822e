"""Graphs with Q/DQ pairs: taking pairs out, and a twin that ONNX Runtime computes rightly. Knows no ModelOpt."""

# ruff: noqa: PLC0415 (onnx takes a second to import; `build-engines --help` does not wait for it)

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from build_engines.errors import PrecisionError, first_line
from build_engines.graph.layers import attends
from build_engines.values import SINGLE_FILE_LIMIT, Graph, describe
from contract.config import INPUT, MODEL_FILE


def quantised(proto: Any) -> tuple[str, ...]:
    """The names of the nodes of an `onnx.ModelProto` that read a DequantizeLinear, in order."""
    dequantised = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    return tuple(node.name for node in proto.graph.node if dequantised.intersection(node.input))


def has_pairs(graph: Graph) -> bool:
    """Whether anything in `graph` is quantised."""
    import onnx

    proto = onnx.load(str(graph.path), load_external_data=False)
    return any(node.op_type == "QuantizeLinear" for node in proto.graph.node)


def has_attention(graph: Graph) -> bool:
    """Whether `graph` has attention, whose products may be quantised too."""
    import onnx

    return attends(onnx.load(str(graph.path), load_external_data=False))


def strip(graph: Graph, nodes: Collection[str], folder: Path) -> Graph:
    """`graph` in `folder`, the Q/DQ pairs in front of `nodes` taken out: those compute in high precision.

    Raises:
        PrecisionError: one of `nodes` is not in the graph, or its weights are stored in 8 bits only.
    """
    import onnx

    proto = onnx.load(str(graph.path), load_external_data=False)
    widen(proto, nodes)
    return save_graph(proto, folder, beside=graph.path.parent)


def widen(proto: Any, nodes: Collection[str]) -> None:
    """What `strip` does, to an `onnx.ModelProto` in place."""
    import onnx

    unknown = set(nodes) - {node.name for node in proto.graph.node}
    if unknown:
        raise PrecisionError(f"the graph has no node {', '.join(sorted(unknown))}; name nodes as the FP32 graph does")
    producers = {node.output[0]: node for node in proto.graph.node if node.output}
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    casts: dict[str, Any] = {}
    for node in proto.graph.node:
        for index, name in enumerate(node.input) if node.name in nodes else ():
            dequantize = producers.get(name)
            if dequantize is None or dequantize.op_type != "DequantizeLinear":
                continue
            if types.get(dequantize.input[0]) == onnx.TensorProto.INT32:
                continue  # A bias, whose 32 bits say what FP32 would.
            quantize = producers.get(dequantize.input[0])
            if quantize is None:
                raise PrecisionError(f"{node.name} reads what is stored in 8 bits only; convert the FP32 graph again")
            # A scale has the type of what is quantised with it, or of what comes out again.
            if types.get(quantize.input[1]) == types.get(dequantize.input[1]):
                node.input[index] = quantize.input[0]
            else:
                cast, to = f"{name}_widened", types[dequantize.input[1]]
                casts[cast] = onnx.helper.make_node("Cast", [quantize.input[0]], [cast], name=cast, to=to)
                node.input[index] = cast
    _insert(proto, casts)
    sweep(proto)


def exact_twin(graph: Graph, folder: Path) -> Graph:
    """A twin of `graph` in `folder` that quantises in FP32, for measuring accuracy in ONNX Runtime on a CPU.

    ONNX Runtime 1.24 cuts on a CPU where it should round when it quantises FP16, so that half of all values come out
    one step too small (https://github.com/microsoft/onnxruntime/issues/18576). TensorRT rounds, and takes scales in
    FP32. Run the twin without graph optimizations: QDQPropagationTransformer makes pairs of its own, in FP16 again.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(str(graph.path), load_external_data=False)
    onnx.external_data_helper.load_external_data_for_model(proto, str(graph.path.parent))
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    casts: dict[str, Any] = {}
    for node in proto.graph.node:
        scale = tensors.get(node.input[1]) if node.op_type == "QuantizeLinear" else None
        if scale is None or scale.data_type != onnx.TensorProto.FLOAT16:
            continue
        wide, cast = f"{scale.name}_fp32", f"{node.input[0]}_fp32"
        if wide not in tensors:
            tensors[wide] = numpy_helper.from_array(numpy_helper.to_array(scale).astype("float32"), wide)
            proto.graph.initializer.append(tensors[wide])
        if cast not in casts:
            casts[cast] = onnx.helper.make_node("Cast", [node.input[0]], [cast], name=cast, to=onnx.TensorProto.FLOAT)
        node.input[0], node.input[1] = cast, wide
    _insert(proto, casts)
    sweep(proto)
    return save_graph(proto, folder)


def save_graph(
    proto: Any, folder: Path, *, beside: Path | None = None, single_file_limit: int = SINGLE_FILE_LIMIT
) -> Graph:
    """Write `proto` into `folder`, its weights beside it where they are large.

    `beside` is the folder of the weights that `proto` names but does not hold.
    """
    import onnx

    path = folder / MODEL_FILE
    path.unlink(missing_ok=True)
    places = {
        entry.value for tensor in proto.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    if beside is not None and places:
        for place in places:
            # Copied, not linked: onnx and ONNX Runtime refuse weights behind links.
            shutil.copyfile(beside / place, folder / place)
        onnx.save(proto, str(path))
        return describe(path)
    weights = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if weights > single_file_limit:
        data = path.with_name(f"{path.name}.data")
        data.unlink(missing_ok=True)  # onnx appends to what is there.
        onnx.save(proto, str(path), save_as_external_data=True, location=data.name)
    else:
        onnx.save(proto, str(path))
    return describe(path)


def check_like(graph: Graph, reference: Graph) -> None:
    """Demand that `graph` is valid, has the ends of `reference`, and that the Cast is first and alone at the input.

    Raises:
        PrecisionError: it is not; the message names what is wrong.
    """
    import onnx

    try:
        onnx.checker.check_model(str(graph.path))
    except onnx.checker.ValidationError as error:
        raise PrecisionError(f"onnx.checker refuses the graph of lower precision: {first_line(error)}") from error
    proto = onnx.load(str(graph.path), load_external_data=False)
    wanted = onnx.load(str(reference.path), load_external_data=False)
    for side in ("input", "output"):
        ends = [
            [(tensor.name, tensor.type.SerializeToString(deterministic=True)) for tensor in getattr(model.graph, side)]
            for model in (proto, wanted)
        ]
        if ends[0] != ends[1]:
            raise PrecisionError(f"the graph of lower precision has another {side} than the FP32 graph")
    readers = [node.op_type for node in proto.graph.node if INPUT in node.input]
    first = proto.graph.node[0]
    if readers != ["Cast"] or INPUT not in first.input:
        raise PrecisionError(f"the first op must be the Cast of {INPUT!r}, and alone read it; {', '.join(readers)} do")


def _insert(proto: Any, nodes: Mapping[str, Any]) -> None:
    """Put each of `nodes`, named by the tensor it makes, where what it reads is there."""
    import onnx

    waiting: dict[str, list[Any]] = {}
    for node in nodes.values():
        waiting.setdefault(node.input[0], []).append(node)
    ordered = onnx.GraphProto()
    for node in proto.graph.node:
        ordered.node.append(node)
        for output in node.output:
            ordered.node.extend(waiting.pop(output, ()))
        if len(ordered.node) == 1:
            # What reads weights may stand anywhere, but the Cast of the input is first.
            for tensor in proto.graph.initializer:
                ordered.node.extend(waiting.pop(tensor.name, ()))
    del proto.graph.node[:]
    proto.graph.node.extend(ordered.node)


def sweep(proto: Any) -> None:
    """Take out what nothing reads: nodes, weights, notes on tensors."""
    read = {tensor.name for tensor in proto.graph.output}
    nodes = list(proto.graph.node)
    for node in reversed(nodes):
        if read.intersection(node.output):
            read.update(node.input)
        else:
            proto.graph.node.remove(node)
    made = {output for node in proto.graph.node for output in node.output}
    for tensors, known in ((proto.graph.initializer, read), (proto.graph.value_info, made)):
        for tensor in [tensor for tensor in tensors if tensor.name not in known]:
            tensors.remove(tensor)
