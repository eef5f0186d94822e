"""Blocks are found by name, the one that hurts is found by measuring, and leaving it out repairs the graph."""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from build_engines.errors import PrecisionError
from build_engines.graph.conversion import Recipe, convert
from build_engines.graph.qdq import exact_twin, quantised, save_graph
from build_engines.graph.sensitivity import (
    Block,
    Sensitivity,
    blocks,
    keep_blocks,
    keep_until,
    rank_blocks,
    sensitivity_table,
)
from build_engines.values import Graph, Precision, describe
from tests.unit.build_engines.graph.converted import PIXELS, TRAINED, answers, sabotaged, trained

WANTED = answers(trained(), PIXELS)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The trained model in INT8, for an engine."""
    recipe = Recipe(Precision.INT8, for_engine=True)
    return convert(trained(), recipe, PIXELS, tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="module")
def broken(engine: Graph, tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Block]:
    """It, with the ranges of one block too small, and that block."""
    block = blocks(trained(), engine)[3]
    return sabotaged(engine, block.nodes, 0.25, tmp_path_factory.mktemp("sabotaged") / "graph"), block


def agreement(graph: Graph, folder: Path) -> float:
    twin = folder / "twin"
    twin.mkdir(exist_ok=True)
    return float((answers(exact_twin(graph, twin), PIXELS).argmax(axis=1) == WANTED.argmax(axis=1)).mean())


def test_the_blocks_of_a_transformer(engine: Graph) -> None:
    found = blocks(trained(), engine)
    assert [block.name for block in found] == ["patch_embed", "blocks.0", "blocks.1", "blocks.2", "blocks.3"]
    nodes = [node for block in found for node in block.nodes]
    assert len(nodes) == len(set(nodes))
    assert set(nodes) == set(quantised(onnx.load(engine.path)))
    # Weights of products have lost their names; the path from one block's norm to the next one's has not.
    kinds = {node.name: node.op_type for node in onnx.load(TRAINED).graph.node}
    assert [[kinds[node] for node in block.nodes].count("MatMul") for block in found] == [0, 4, 4, 4, 4]


def one_by_one(names: Iterable[str], folder: Path, ops: Iterable[str] = itertools.repeat("Mul")) -> tuple[Graph, Graph]:
    """A graph of one op for each weight, and the same with every op quantised."""
    graphs = []
    for kind in ("fp32", "int8"):
        proto = onnx.ModelProto(ir_version=9)
        before = "image"
        for index, (name, op) in enumerate(zip(names, ops, strict=False)):
            node = helper.make_node(op, [before, name], [f"out{index}"], name=f"node{index}")
            if kind == "int8":
                pair = [before, f"q{index}", f"dq{index}"]
                proto.graph.node.append(helper.make_node("QuantizeLinear", [pair[0], "s"], [pair[1]], name=pair[1]))
                proto.graph.node.append(helper.make_node("DequantizeLinear", [pair[1], "s"], [pair[2]], name=pair[2]))
                node.input[0] = pair[2]
            proto.graph.node.append(node)
            before = node.output[0]
        for name in (*dict.fromkeys(names), "s"):
            proto.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), name))
        (folder / kind).mkdir()
        graphs.append(save_graph(proto, folder / kind))
    return graphs[0], graphs[1]


def test_blocks_by_the_names_of_weights(tmp_path: Path) -> None:
    expected = {
        "model.conv_stem.weight": "conv_stem",
        "val_1": "conv_stem",
        "model.layers.1.blocks.0.attn.qkv.bias": "layers.1.blocks.0",
        "model.layers.1.downsample.reduction.weight": "layers.1",
        "model.layer1.0.conv1.weight": "layer1.0",
        "model.blocks.2.1.conv_pw.weight": "blocks.2.1",
        "model.pos_embed": "blocks.2.1",
        "model.stages.3.1.transformer.0.attn.proj.weight": "stages.3.1.transformer.0",
        "model.patch_embed.body.0.0.weight": "patch_embed",
        "model.blocks.11.mlp.fc1.bias": "blocks.11",
    }
    found = blocks(*one_by_one(list(expected), tmp_path))
    assert {node: block.name for block in found for node in block.nodes} == {
        f"node{index}": block for index, block in enumerate(expected.values())
    }
    assert [block.name for block in found] == list(dict.fromkeys(expected.values()))


def test_a_weight_that_two_blocks_share_names_neither(tmp_path: Path) -> None:
    names = ["model.blocks.0.norm.weight", "model.blocks.0.bias", "model.blocks.1.norm.weight", "model.blocks.0.bias"]
    assert [block.nodes for block in blocks(*one_by_one(names, tmp_path))] == [("node0", "node1"), ("node2", "node3")]


def test_a_product_belongs_to_its_bias(tmp_path: Path) -> None:
    names = ["model.blocks.0.norm.weight", "val_1", "model.blocks.1.mlp.fc1.bias"]
    found = blocks(*one_by_one(names, tmp_path, ["Mul", "MatMul", "Add"]))
    assert [block.nodes for block in found] == [("node0",), ("node1", "node2")]


def test_graphs_that_do_not_belong_together_are_refused(tmp_path: Path, engine: Graph) -> None:
    fp32, _ = one_by_one(["model.blocks.0.norm.weight"], tmp_path)
    with pytest.raises(PrecisionError, match="that the FP32 graph lacks"):
        blocks(fp32, engine)


def test_the_sabotaged_block_ranks_first_and_is_kept(broken: tuple[Graph, Block], tmp_path: Path) -> None:
    graph, culprit = broken
    assert agreement(graph, tmp_path) < 0.97
    ranked = rank_blocks(graph, blocks(trained(), graph), PIXELS, WANTED, tmp_path)
    assert ranked[0].block == culprit
    assert ranked[0].divergence > 10 * ranked[1].divergence
    assert [one.divergence for one in ranked] == sorted((one.divergence for one in ranked), reverse=True)
    assert all(0 <= one.agreement <= 1 and one.difference > 0 for one in ranked)
    assert os.listdir(tmp_path) == ["twin"]

    (tmp_path / "kept").mkdir()
    kept = keep_until(lambda each: agreement(each, tmp_path) >= 0.97, graph, ranked, tmp_path / "kept")
    assert agreement(kept, tmp_path) >= 0.97
    assert kept == describe(tmp_path / "kept" / "model.onnx")
    left = quantised(onnx.load(kept.path))
    assert left
    assert not set(left).intersection(culprit.nodes)


def test_blocks_are_kept_one_more_at_a_time_until_none_is_left(broken: tuple[Graph, Block], tmp_path: Path) -> None:
    graph, _ = broken
    parts = blocks(trained(), graph)
    ranked = [Sensitivity(part, 1.0, 0.0, 0.0) for part in reversed(parts)]
    tried: list[int] = []

    def never(candidate: Graph) -> bool:
        tried.append(len(quantised(onnx.load(candidate.path))))
        return False

    kept = keep_until(never, graph, ranked, tmp_path)
    sizes = [len(part.nodes) for part in parts]
    assert tried == [sum(sizes[:count]) for count in range(len(sizes) - 1, -1, -1)]
    assert agreement(kept, tmp_path) > 0.97


def test_a_graph_that_passes_is_left_as_it_is(engine: Graph, tmp_path: Path) -> None:
    assert keep_blocks(trained(), engine, lambda _: True, PIXELS, tmp_path) == ()
    assert describe(tmp_path / "model.onnx").sha256 == engine.sha256
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_one_that_does_not_is_written_with_its_worst_block_kept(broken: tuple[Graph, Block], tmp_path: Path) -> None:
    graph, culprit = broken
    answer = iter((False, True))
    rows = keep_blocks(trained(), graph, lambda _: next(answer), PIXELS, tmp_path)
    assert [row[0] for row in rows[:2]] == ["block", culprit.name]
    left = quantised(onnx.load(tmp_path / "model.onnx"))
    assert set(quantised(onnx.load(graph.path))) - set(left) == set(culprit.nodes)
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_graph_without_8_bits_has_nothing_to_keep(tmp_path: Path) -> None:
    assert blocks(trained(), trained()) == ()
    with pytest.raises(PrecisionError, match="nothing in the graph is quantised"):
        keep_until(lambda _: True, trained(), (), tmp_path)


def test_the_table(broken: tuple[Graph, Block]) -> None:
    _, culprit = broken
    assert sensitivity_table([Sensitivity(culprit, 0.5, 0.25, 0.125)]) == (
        ("block", "agreement", "divergence", "mean difference"),
        ("blocks.2", "50.00%", "2.50e-01", "1.25e-01"),
    )
