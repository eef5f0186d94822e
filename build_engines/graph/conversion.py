"""From the FP32 graph to one of a lower precision, by ModelOpt: FP16 by casts, INT8 and FP8 by Q/DQ pairs.

ONNX Runtime's own quantiser makes INT8 of CNNs for a CPU: `onnxruntime_steps` says why.
"""

# ruff: noqa: PLC0415 (onnx takes a second to import; `build-engines --help` does not wait for it)

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from build_engines.errors import PrecisionError
from build_engines.graph.apart import Job, run_apart
from build_engines.graph.layers import back, front, heads, layers, only_convolves
from build_engines.graph.modelopt_steps import HIGH, cast, quantize
from build_engines.graph.onnxruntime_steps import quantize_convolutions
from build_engines.graph.qdq import check_like, save_graph, widen
from build_engines.values import Graph, Pixels, Precision
from contract.config import INPUT


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
    attention: bool = False
    """Whether the products inside attention get Q/DQ pairs too, as NVIDIA's newer recipe for ViTs has them
    (Model-Optimizer, pull request 1289); else attention is left in FP16, for which TensorRT has fused kernels."""

    def __post_init__(self) -> None:
        if self.precision is Precision.FP32:
            raise PrecisionError(f"{self.precision.value} is what the others are made from; ask for fp16, int8 or fp8")
        if self.precision is Precision.FP8 and not self.for_engine:
            raise PrecisionError("fp8 is for engines only, ONNX Runtime has no fast FP8 on a CPU; ask for int8")
        if self.attention and (self.precision is Precision.FP16 or not self.for_engine):
            raise PrecisionError("attention is quantised in INT8 and FP8 for engines only")

    @property
    def key(self) -> str:
        """One line that differs where the result may."""
        if self.precision is Precision.FP16:
            return str(self.precision.value)
        words: list[str] = [self.precision.value, "for an engine" if self.for_engine else "for a CPU", self.method]
        return " ".join([*words, "attention"] if self.attention else words)


def convert(graph: Graph, recipe: Recipe, pixels: Pixels, folder: Path) -> Graph:
    """Write `graph`, an FP32 one, at a lower precision into `folder`, with ranges from `pixels`.

    `pixels` are uint8 `[pictures, height, width, 3]`, as served. The input's normalisation, the heads and the last
    softmax stay FP32; the attention's softmax and LayerNorm stay at least FP16.

    Raises:
        PrecisionError: the quantiser failed, or what it made breaks the contract.
    """
    import onnx

    proto = onnx.load(str(graph.path), load_external_data=False)
    names = [node.name for node in proto.graph.node]
    if len(set(names)) != len(names) or not all(names):
        raise PrecisionError("the graph's nodes must have names, each its own; export the model again")
    if recipe.precision is not Precision.FP16 and not layers(proto):
        raise PrecisionError("there is nothing to quantise but the head; ask for fp16")
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
        job = Job(
            work=work,
            precision=recipe.precision,
            method=recipe.method,
            engine=recipe.for_engine,
            attention=recipe.attention,
            ends=(*front(proto), *back(proto)),
            heads=heads(proto),
            layers=layers(proto),
            large=len(graph.files) > 1,
        )
        if recipe.precision is Precision.FP16:
            written = run_apart(cast, job, "source.onnx")
        elif recipe.for_engine:
            written = run_apart(cast, job, run_apart(quantize, job, "source.onnx"))
        elif only_convolves(proto):
            written = run_apart(quantize_convolutions, job, "source.onnx")
        else:
            written = run_apart(quantize, job, "source.onnx")
        result = onnx.load(str(work / written))
        _tidy(result, {renamed: name for name, renamed in short.items()})
        # Where one reader of a tensor is quantised, ModelOpt lets all of them read what was.
        high = {node.name for node in result.graph.node if node.op_type in HIGH}
        high.update(name for name in names if short[name] in job.ends)
        widen(result, high.intersection(node.name for node in result.graph.node))
        converted = save_graph(result, folder)
    check_like(converted, graph)
    return converted


def _tidy(proto: Any, names: Mapping[str, str]) -> None:
    """Give nodes the names they had, put the input's Cast first again, and drop notes about this machine and on shapes.

    ModelOpt notes shapes by names of its own for free dimensions, and may give two of them one name. ONNX Runtime takes
    them for equal, plans one buffer for both, and fails when it runs (seen with deit3_small and vit_tiny_r_s16_p8).
    """
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
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        value.doc_string = ""
