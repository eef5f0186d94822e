"""Which blocks of a model 8 bits hurt most, and leaving those in high precision (`--keep-fp16 auto`).

One calibration is enough: blocks are judged and kept by taking Q/DQ pairs out of the finished graph. Knows no gate.
"""

# ruff: noqa: PLC0415 (onnx and ONNX Runtime take seconds to import; `build-engines --help` does not wait for them)

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from build_engines.errors import PrecisionError
from build_engines.graph.qdq import check_like, exact, quantised, strip
from build_engines.values.graph import Graph
from contract.config import INPUT, OUTPUT
from contract.cpus import available_cpus

_BATCH = 8
_LEAST = 1e-12
"""Probability below which the divergence does not look."""
_PREFIX = "model."
"""Of the names of weights: the exporter wraps the model."""

Pixels = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """A part of the model that is kept in high precision as one, such as a transformer block."""

    name: str
    """As timm names its modules: `blocks.3`, `layers.1.blocks.0`, `patch_embed`."""
    nodes: tuple[str, ...]
    """The nodes of it that are quantised."""


@dataclass(frozen=True)
class Sensitivity:
    """How far the answers are from those of FP32 when this block alone is quantised."""

    block: Block
    agreement: float
    """Share of pictures with the same top-1."""
    divergence: float
    """Mean Kullback-Leibler divergence from the FP32 answers, in nats."""
    difference: float
    """Mean absolute difference of a probability."""


@dataclass(frozen=True)
class Kept:
    """What came of leaving blocks in high precision."""

    graph: Graph
    blocks: tuple[Block, ...]
    """Those left in high precision, the worst first."""
    passed: bool

    @property
    def nodes(self) -> tuple[str, ...]:
        """Their nodes: a recipe's `keep` for the same graph from a new calibration."""
        return tuple(node for block in self.blocks for node in block.nodes)


def blocks(graph: Graph, quantised_graph: Graph) -> tuple[Block, ...]:
    """The blocks of the FP32 `graph` that hold quantised nodes of `quantised_graph`, in the model's order."""
    import onnx

    proto = onnx.load(str(graph.path), load_external_data=False)
    block_of = _blocks_of_nodes(proto)
    nodes: dict[str, list[str]] = {}
    for name in quantised(onnx.load(str(quantised_graph.path), load_external_data=False)):
        if name not in block_of:
            raise PrecisionError(f"the quantised graph has a node {name} that the FP32 graph lacks; build both anew")
        nodes.setdefault(block_of[name], []).append(name)
    # Quantised graphs may have another order of nodes than the model.
    order = {name: index for index, name in enumerate(dict.fromkeys(block_of.values()))}
    return tuple(Block(name, tuple(nodes[name])) for name in sorted(nodes, key=lambda name: order[name]))


def measure(
    quantised_graph: Graph, parts: Sequence[Block], pixels: Pixels, answers: Probabilities, folder: Path
) -> tuple[Sensitivity, ...]:
    """How much each of `parts` hurts alone, the worst first.

    Args:
        quantised_graph: The finished graph.
        parts: Its blocks.
        pixels: uint8 `[pictures, height, width, 3]`.
        answers: What the FP32 graph answers to them, float32 `[pictures, classes]`.
        folder: For graphs that are gone when this returns.

    Raises:
        PrecisionError: ONNX Runtime cannot run a graph.
    """
    everything = {node for part in parts for node in part.nodes}
    found = []
    for part in parts:
        with tempfile.TemporaryDirectory(prefix=".sensitivity-", dir=folder) as scratch:
            alone, twin = Path(scratch, "alone"), Path(scratch, "twin")
            alone.mkdir()
            twin.mkdir()
            only = exact(strip(quantised_graph, everything - set(part.nodes), alone), twin)
            found.append(_compare(part, _answers(only, pixels), answers))
    return tuple(sorted(found, key=lambda one: one.divergence, reverse=True))


def keep_until(
    passes: Callable[[Graph], bool], quantised_graph: Graph, ranked: Sequence[Sensitivity], folder: Path
) -> Kept:
    """Leave the worst block of `quantised_graph` in high precision, then the worst two, until a graph `passes`.

    Each graph is written to `folder` over the one before it; the last one stays.

    Raises:
        PrecisionError: a graph is not valid.
    """
    if not ranked:
        raise PrecisionError("nothing in the graph is quantised, so nothing can be left out; ask for fp16")
    worst = [one.block for one in ranked]
    for count in range(1, len(worst) + 1):
        graph = strip(quantised_graph, {node for block in worst[:count] for node in block.nodes}, folder)
        check_like(graph, quantised_graph)
        passed = passes(graph)
        if passed:
            break
    return Kept(graph, tuple(worst[:count]), passed)


def table(ranked: Sequence[Sensitivity]) -> tuple[tuple[str, str, str, str], ...]:
    """Rows for the report, the head first."""
    return (
        ("block", "agreement", "divergence", "mean difference"),
        *((one.block.name, f"{one.agreement:.2%}", f"{one.divergence:.2e}", f"{one.difference:.2e}") for one in ranked),
    )


def _blocks_of_nodes(proto: Any) -> dict[str, str]:
    """The block of each node, by the names of weights.

    Weights of matrix products are stored transposed and have lost theirs, so a node without one belongs to its bias's
    block, or to the block of the node before it. Equal weights are stored once, so those with several readers tell
    nothing.
    """
    often = Counter(name for node in proto.graph.node for name in set(node.input))
    weights = {tensor.name for tensor in proto.graph.initializer if often[tensor.name] == 1}
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    block_of: dict[str, str] = {}
    current = "input"
    for node in proto.graph.node:
        after = [reader for output in node.output for reader in readers.get(output, ())]
        bias = after if len(after) == 1 and after[0].op_type == "Add" and node.op_type == "MatMul" else []
        named = (_block(name) for one in (node, *bias) for name in one.input if name in weights)
        current = next((name for name in named if name), current)
        block_of[node.name] = current
    return block_of


def _block(weight: str) -> str | None:
    """`model.layers.1.blocks.0.attn.qkv.bias` is in `layers.1.blocks.0`, `model.patch_embed.body.0.weight` in
    `patch_embed`: the modules that are numbered from the start, else the first.
    """
    modules = weight.removeprefix(_PREFIX).split(".")[:-1] if weight.startswith(_PREFIX) else []
    if not modules:
        return None
    end = 0
    for index, word in enumerate(modules):
        if word.isdigit():
            end = index + 1
        elif not (index + 1 < len(modules) and modules[index + 1].isdigit()):
            break
    return ".".join(modules[: max(end, 1)])


def _answers(graph: Graph, pixels: Pixels) -> Probabilities:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # See `qdq.exact`.
    options.intra_op_num_threads = available_cpus()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
        batches = [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]
        return np.concatenate([session.run([OUTPUT], {INPUT: batch})[0] for batch in batches])
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise PrecisionError(f"ONNX Runtime {onnxruntime.__version__} cannot run the graph: {error}") from error


def _compare(block: Block, found: Probabilities, wanted: Probabilities) -> Sensitivity:
    one, other = (np.maximum(rows.astype(np.float64), _LEAST) for rows in (wanted, found))
    return Sensitivity(
        block=block,
        agreement=float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
        divergence=float((one * np.log(one / other)).sum(axis=1).mean()),
        difference=float(np.abs(found.astype(np.float64) - wanted).mean()),
    )
