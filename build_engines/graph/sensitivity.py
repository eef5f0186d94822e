"""Finds the blocks of a model that 8 bits hurt most, and leaves them in high precision (`--keep-fp16 auto`).

One calibration is enough: blocks are judged and kept by taking Q/DQ pairs out of the finished graph. Knows no gate.
"""

# ruff: noqa: PLC0415 (onnx takes a second to import; `build-engines --help` does not wait for it)

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from build_engines.errors import PrecisionError
from build_engines.graph.layers import readers_of
from build_engines.graph.onnxruntime_session import open_as_compiled, open_graph
from build_engines.graph.qdq import check_like, quantised, strip
from build_engines.values import Graph, Pixels, Probabilities, answers

_BATCH = 8
_RANKED_BY = 64
"""Pictures: each block is tried on all of them."""
_LEAST = 1e-12
"""Probability below which the divergence does not look."""
_PREFIX = "model."
"""Of the names of weights: the exporter wraps the model."""


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


def blocks(graph: Graph, quantised_graph: Graph) -> tuple[Block, ...]:
    """The blocks of the FP32 `graph` that hold quantised nodes of `quantised_graph`, in the model's order."""
    import onnx

    proto = onnx.load(str(graph.path), load_external_data=False)
    block_of = _blocks_of_nodes(proto)
    nodes: dict[str, list[str]] = {}
    for name in quantised(onnx.load(str(quantised_graph.path), load_external_data=False)):
        if name not in block_of:
            raise PrecisionError(f"the quantised graph has a node {name} that the FP32 graph lacks; build both again")
        nodes.setdefault(block_of[name], []).append(name)
    # Quantised graphs may have another order of nodes than the model.
    order = {name: index for index, name in enumerate(dict.fromkeys(block_of.values()))}
    return tuple(Block(name, tuple(nodes[name])) for name in sorted(nodes, key=lambda name: order[name]))


def rank_blocks(
    quantised_graph: Graph, parts: Sequence[Block], pixels: Pixels, wanted: Probabilities, folder: Path
) -> tuple[Sensitivity, ...]:
    """How much each of `parts` hurts alone, the worst first.

    Args:
        quantised_graph: The finished graph.
        parts: Its blocks.
        pixels: uint8 `[pictures, height, width, 3]`.
        wanted: What the FP32 graph answers to them, float32 `[pictures, classes]`.
        folder: For graphs that are gone when this returns.

    Raises:
        InvalidOutputError: ONNX Runtime cannot run a graph.
    """
    everything = {node for part in parts for node in part.nodes}
    found = []
    for part in parts:
        with tempfile.TemporaryDirectory(prefix=".sensitivity-", dir=folder) as scratch:
            alone = strip(quantised_graph, everything - set(part.nodes), Path(scratch))
            found.append(_compare(part, answers(open_as_compiled(alone), pixels, _BATCH), wanted))
    return tuple(sorted(found, key=lambda one: one.divergence, reverse=True))


def keep_blocks(
    fp32: Graph, quantised_graph: Graph, passes: Callable[[Graph], bool], pixels: Pixels, folder: Path
) -> tuple[tuple[str, ...], ...]:
    """Write `quantised_graph` into `folder`, with as many blocks in high precision as it takes until it `passes`.

    Gives the sensitivity of the blocks on the first of `pixels` as a table, its head first; nothing where the graph
    passes as it is.

    Raises:
        PrecisionError: there is nothing to leave out, or a graph is not valid.
        InvalidOutputError: ONNX Runtime cannot run a graph.
    """
    ranked: tuple[Sensitivity, ...] = ()
    with tempfile.TemporaryDirectory(prefix=".blocks-", dir=folder) as scratch:
        result = quantised_graph
        if not passes(quantised_graph):
            some = pixels[:_RANKED_BY]
            wanted = answers(open_graph(fp32.path), some)
            ranked = rank_blocks(quantised_graph, blocks(fp32, quantised_graph), some, wanted, Path(scratch))
            result = keep_until(passes, quantised_graph, ranked, Path(scratch))
        for file in result.files:
            shutil.copyfile(file, folder / file.name)
    return sensitivity_table(ranked) if ranked else ()


def keep_until(
    passes: Callable[[Graph], bool], quantised_graph: Graph, ranked: Sequence[Sensitivity], folder: Path
) -> Graph:
    """Leave the worst block of `quantised_graph` in high precision, then the worst two, until a graph `passes`.

    Each graph is written to `folder` over the one before it; the last one stays, whether it passes or not.

    Raises:
        PrecisionError: a graph is not valid.
    """
    if not ranked:
        raise PrecisionError("nothing in the graph is quantised, so nothing can be left out; ask for fp16")
    worst = [one.block for one in ranked]
    for count in range(1, len(worst) + 1):
        graph = strip(quantised_graph, {node for block in worst[:count] for node in block.nodes}, folder)
        check_like(graph, quantised_graph)
        if passes(graph):
            break
    return graph


def sensitivity_table(ranked: Sequence[Sensitivity]) -> tuple[tuple[str, str, str, str], ...]:
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
    readers = readers_of(proto)
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


def _compare(block: Block, found: Probabilities, wanted: Probabilities) -> Sensitivity:
    one, other = (np.maximum(rows.astype(np.float64), _LEAST) for rows in (wanted, found))
    return Sensitivity(
        block=block,
        agreement=float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
        divergence=float((one * np.log(one / other)).sum(axis=1).mean()),
        difference=float(np.abs(found.astype(np.float64) - wanted).mean()),
    )
