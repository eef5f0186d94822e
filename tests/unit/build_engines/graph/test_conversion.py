"""Each precision keeps the contract and the answers, computes where it should in how many bits, and prints nothing."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_engines.errors import PrecisionError
from build_engines.graph.conversion import Recipe, convert
from build_engines.graph.layers import back, front, heads, layers
from build_engines.graph.qdq import check_like, exact_twin, quantised, save_graph
from build_engines.values import Graph, Precision
from tests.unit.build_engines.graph.converted import PIXELS, TRAINED, answers, texts, trained

RECIPES = {
    "fp16": Recipe(Precision.FP16, for_engine=True),
    "int8 cpu": Recipe(Precision.INT8, for_engine=False),
    "int8": Recipe(Precision.INT8, for_engine=True),
    "fp8": Recipe(Precision.FP8, for_engine=True, method="max"),
    "int8 attention": Recipe(Precision.INT8, for_engine=True, attention=True),
    "fp8 attention": Recipe(Precision.FP8, for_engine=True, method="max", attention=True),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    """The trained model by each recipe."""
    graphs = {}
    for name, recipe in RECIPES.items():
        graphs[name] = convert(trained(), recipe, PIXELS, tmp_path_factory.mktemp("converted"))
    return graphs


@pytest.fixture(params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    """One recipe after the other."""
    return str(request.param)


def test_the_answers_stay(converted: dict[str, Graph], name: str, tmp_path: Path) -> None:
    wanted = answers(trained(), PIXELS)
    found = answers(exact_twin(converted[name], tmp_path), PIXELS)
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.95
    assert np.abs(found - wanted).mean() < {"fp16": 1e-3, "fp8": 2e-2, "fp8 attention": 2e-2}.get(name, 1e-2)


def test_the_contract_stays(converted: dict[str, Graph], name: str) -> None:
    graph = converted[name]
    check_like(graph, trained())
    assert not onnx.load(graph.path).graph.value_info  # Of ModelOpt's names for free dimensions two may be one.
    assert [file.name for file in graph.files] == ["model.onnx"]
    assert os.listdir(graph.path.parent) == ["model.onnx"]
    for path in (Path(__file__).parents[4], Path(onnx.__file__).parents[1], graph.path.parent):
        assert [text for text in texts(onnx.load(graph.path)) if f"{path}/" in text] == []
    before = {node.name: node.op_type for node in onnx.load(TRAINED).graph.node}
    after = {node.name: node.op_type for node in onnx.load(graph.path).graph.node}
    assert before.items() <= after.items()


def element_types(graph: Graph) -> dict[str, int]:
    """The type of each tensor."""
    proto = onnx.shape_inference.infer_shapes(onnx.load(graph.path), strict_mode=True)
    return {value.name: value.type.tensor_type.elem_type for value in (*proto.graph.value_info, *proto.graph.output)}


def test_the_ends_stay_fp32_and_the_middle_does_not(converted: dict[str, Graph], name: str) -> None:
    proto = onnx.load(TRAINED)
    types = element_types(converted[name])
    ends = {*front(proto), *back(proto)}
    outputs = {node.name: node.output[0] for node in proto.graph.node}
    floats = {tensor for tensor, kind in element_types(trained()).items() if kind == TensorProto.FLOAT}
    assert {types[outputs[end]] for end in ends if outputs[end] in floats} == {TensorProto.FLOAT}
    middle = {types[tensor] for node, tensor in outputs.items() if node not in ends and tensor in floats}
    assert middle == ({TensorProto.FLOAT} if name == "int8 cpu" else {TensorProto.FLOAT16})


def attention_of(proto: onnx.ModelProto) -> set[str]:
    """The products of two tensors, neither of which is a weight: of queries with keys, and of those with values."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    return {node.name for node in proto.graph.node if node.op_type == "MatMul" and not constants & set(node.input)}


def test_what_is_quantised(converted: dict[str, Graph], name: str) -> None:
    proto = onnx.load(converted[name].path)
    source = onnx.load(TRAINED)
    kinds = {node.name: node.op_type for node in source.graph.node}
    eight_bits = quantised(proto)
    if name == "fp16":
        assert eight_bits == ()
        return
    assert not {*heads(source), *front(source)}.intersection(eight_bits)
    assert not {"Softmax", "LayerNormalization"}.intersection(kinds[node] for node in eight_bits)
    # Every product with weights; those in the attention, whose names begin alike, only where the recipe says so.
    products = {node for node in eight_bits if kinds[node] == "MatMul"}
    assert products - set(layers(source)) == (attention_of(source) if "attention" in name else set())
    assert products >= set(layers(source))
    convolutions = [node for node in eight_bits if kinds[node] == "Conv"]
    assert bool(convolutions) == (name != "int8 cpu")
    stored = {tensor.data_type for tensor in proto.graph.initializer}
    assert (TensorProto.FLOAT8E4M3FN in stored) == name.startswith("fp8")


@pytest.mark.parametrize("name", ["int8", "fp8", "int8 attention", "fp8 attention"])
def test_nothing_stands_between_a_dequantisation_and_its_product(converted: dict[str, Graph], name: str) -> None:
    nodes = onnx.load(str(converted[name].path)).graph.node
    dequantised = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    readers = {node.op_type for node in nodes if dequantised & set(node.input)}
    # TensorRT fuses the pair into the product only where nothing is between them: no Cast, and in attention neither the
    # keys' Transpose nor the scaling.
    assert "MatMul" in readers
    assert readers.isdisjoint({"Cast", "Div", "Mul", "Reshape", "Sqrt", "Transpose"})


@pytest.mark.parametrize("name", ["int8 attention", "fp8 attention"])
def test_what_softmax_and_layer_norm_make_is_quantised(converted: dict[str, Graph], name: str) -> None:
    # As in NVIDIA's recipe for ViTs (Model-Optimizer, pull requests 1289 and 1569); what they read is not.
    proto = onnx.load(str(converted[name].path))
    producers = {output: node for node in proto.graph.node for output in node.output}

    def maker(name: str) -> str:
        node = producers.get(name)
        return "" if node is None else maker(node.input[0]) if node.op_type == "Cast" else str(node.op_type)

    quantised_ones = {maker(node.input[0]) for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    assert {"Softmax", "LayerNormalization"} <= quantised_ones


def test_there_must_be_something_to_quantise(tmp_path: Path) -> None:
    head = onnx.load(TRAINED)
    weights = {tensor.name for tensor in head.graph.initializer}
    for node in head.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Conv") and weights.intersection(node.input[1:2]):
            node.op_type, node.domain = "Add", ""
    with pytest.raises(PrecisionError, match="nothing to quantise but the head"):
        convert(save_graph(head, tmp_path), RECIPES["int8 cpu"], PIXELS[:8], tmp_path)


def test_ranges_follow_from_the_pictures(tmp_path: Path, converted: dict[str, Graph]) -> None:
    dark = convert(trained(), RECIPES["int8 cpu"], (PIXELS // 8).astype(np.uint8), tmp_path)

    def scales(graph: Graph) -> dict[str, float]:
        proto = onnx.load(graph.path)
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        pairs = [node for node in proto.graph.node if node.op_type == "QuantizeLinear" and node.input[0] not in tensors]
        return {node.input[0]: float(tensors[node.input[1]]) for node in pairs}

    bright, dim = scales(converted["int8 cpu"]), scales(dark)
    assert bright.keys() == dim.keys()
    assert bright != dim


def overflowing(folder: Path) -> Graph:
    """The trained model with values for a moment larger than FP16 holds, though no weight is."""
    proto = onnx.load(TRAINED)
    at = next(index for index, node in enumerate(proto.graph.node) if node.op_type == "Gelu")
    gelu = proto.graph.node[at]
    proto.graph.initializer.append(numpy_helper.from_array(np.array(6e4, np.float32), "large"))
    up = helper.make_node("Mul", [gelu.input[0], "large"], ["raised"], name="raise")
    down = helper.make_node("Div", ["raised", "large"], ["lowered"], name="lower")
    gelu.input[0] = "lowered"
    proto.graph.node.insert(at, down)
    proto.graph.node.insert(at, up)
    return save_graph(proto, folder)


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_values_too_large_for_fp16_stay_fp32(tmp_path: Path, name: str) -> None:
    for folder in ("source", "result", "twin"):
        (tmp_path / folder).mkdir()
    source = overflowing(tmp_path / "source")
    graph = convert(source, dataclasses.replace(RECIPES[name], method="max"), PIXELS[:8], tmp_path / "result")
    assert element_types(graph)["raised"] == TensorProto.FLOAT
    found = answers(exact_twin(graph, tmp_path / "twin"), PIXELS)
    assert (found.argmax(axis=1) == answers(trained(), PIXELS).argmax(axis=1)).mean() > 0.95


def test_weights_beside_the_graph_are_read(tmp_path: Path) -> None:
    for folder in ("source", "result"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "source" / "model.onnx"
    onnx.save(onnx.load(TRAINED), path, save_as_external_data=True, location="model.onnx.data", size_threshold=100)
    source = dataclasses.replace(trained(), path=path, files=(path, path.with_name("model.onnx.data")))
    graph = convert(source, RECIPES["int8 cpu"], PIXELS[:8], tmp_path / "result")
    assert os.listdir(tmp_path / "result") == ["model.onnx"]
    assert (answers(graph, PIXELS).argmax(axis=1) == answers(trained(), PIXELS).argmax(axis=1)).mean() > 0.5
    assert sorted(os.listdir(tmp_path / "source")) == ["model.onnx", "model.onnx.data"]


def test_it_leaves_nothing_on_the_terminal_nor_elsewhere_and_ends_with_the_build(tmp_path: Path) -> None:
    """In a process of its own, because the fork server that serves these tests keeps the terminal it started with."""
    for folder in ("temporary", "one", "two", "here"):
        (tmp_path / folder).mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(Path(__file__).parents[4])}
    command = [sys.executable, "-c", CONVERT_TWICE, str(tmp_path / "one"), str(tmp_path / "two")]
    with (
        (tmp_path / "terminal.txt").open("w+") as terminal,
        subprocess.Popen(command, env=environment, cwd=tmp_path / "here", stdout=terminal, stderr=terminal) as build,
    ):
        told = tmp_path / "one" / "child.txt"
        # Until ModelOpt calibrates in a temporary folder.
        while not (told.exists() and list((tmp_path / "two").glob("*/ort.quant.*"))):
            assert build.poll() is None, (tmp_path / "terminal.txt").read_text()
            time.sleep(0.05)
        build.kill()
    assert (tmp_path / "terminal.txt").read_text() == ""
    assert sorted(os.listdir(tmp_path / "one")) == ["child.txt", "model.onnx"]
    assert os.listdir(tmp_path / "here") == []
    assert [name for name in os.listdir(tmp_path / "temporary") if not name.startswith("pymp-")] == []
    assert sorted(os.listdir(TRAINED.parent)) == ["labels.txt", "model.onnx", "weights.safetensors"]
    child = Path("/proc", told.read_text())
    deadline = time.monotonic() + 15  # The calibration would take a minute.
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists()


CONVERT_TWICE = """
import multiprocessing, os, sys, threading, time
import numpy as np
from pathlib import Path
from build_engines.graph.conversion import convert
from tests.unit.build_engines.graph.converted import PIXELS, trained
from tests.unit.build_engines.graph.test_conversion import RECIPES
one, two = map(Path, sys.argv[1:])
convert(trained(), RECIPES["int8"], PIXELS[:8], one)
def tell():
    while not multiprocessing.active_children():
        time.sleep(0.01)
    (one / "new").write_text(str(multiprocessing.active_children()[0].pid))
    os.rename(one / "new", one / "child.txt")
threading.Thread(target=tell, daemon=True).start()
convert(trained(), RECIPES["int8"], np.tile(PIXELS, (60, 1, 1, 1)), two)
"""


def test_what_modelopt_cannot_do_is_one_clear_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = np.zeros((8, 16, 16, 3), np.uint8)
    with pytest.raises(PrecisionError, match="the graph cannot be brought to int8: ") as caught:
        convert(trained(), RECIPES["int8 cpu"], wrong, tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_a_process_that_is_killed_is_one_clear_error(tmp_path: Path) -> None:
    def kill() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(children[0].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(PrecisionError, match="there may be too little memory"):
        convert(trained(), RECIPES["int8"], PIXELS, tmp_path)
    killer.join()
    assert os.listdir(tmp_path) == []


def test_graphs_without_names_are_refused(tmp_path: Path) -> None:
    proto = onnx.load(TRAINED)
    proto.graph.node[5].name = proto.graph.node[6].name
    with pytest.raises(PrecisionError, match="must have names, each its own"):
        convert(save_graph(proto, tmp_path), RECIPES["fp16"], PIXELS[:8], tmp_path)


def keys() -> Iterator[tuple[str, Recipe, Recipe, bool]]:
    int8 = Recipe(Precision.INT8, for_engine=True)
    fp16 = Recipe(Precision.FP16, for_engine=True)
    yield "precision", int8, fp16, False
    yield "method", int8, dataclasses.replace(int8, method="max"), False
    yield "engine", int8, dataclasses.replace(int8, for_engine=False), False
    yield "fp16 has no method", fp16, dataclasses.replace(fp16, method="max", for_engine=False), True


@pytest.mark.parametrize(("what", "one", "other", "same"), list(keys()))
def test_the_key_says_all_that_decides(what: str, one: Recipe, other: Recipe, same: bool) -> None:
    assert (one.key == other.key) == same, what
    assert len(one.key.splitlines()) == 1


@pytest.mark.parametrize(
    ("precision", "engine", "message"), [(Precision.FP32, True, "fp32 is"), (Precision.FP8, False, "engines")]
)
def test_recipes_that_make_no_sense_are_refused(precision: Precision, engine: bool, message: str) -> None:
    with pytest.raises(PrecisionError, match=message):
        Recipe(precision, for_engine=engine)


def chain(*nodes: tuple[Any, ...]) -> onnx.ModelProto:
    """A graph of (op, inputs, output), where inputs named w are weights."""
    proto = onnx.ModelProto()
    for op, inputs, output in nodes:
        proto.graph.node.append(helper.make_node(op, inputs.split(), [output], name=output))
    for name in sorted({name for _, inputs, _ in nodes for name in inputs.split() if name.startswith("w")}):
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((2, 2), np.float32), name))
    return proto


def test_heads_are_found_where_there_are_two_and_after_a_mean() -> None:
    distilled = chain(
        ("MatMul", "x w1", "trunk"),
        ("LayerNormalization", "trunk w2 w3", "norm"),
        ("Gather", "norm w4", "class"),
        ("Gather", "norm w4", "distilled"),
        ("Gemm", "class w5 w6", "head"),
        ("Gemm", "distilled w7 w8", "head_dist"),
        ("Add", "head head_dist", "sum"),
        ("Div", "sum w9", "mean"),
        ("Softmax", "mean", "probabilities"),
    )
    assert heads(distilled) == ("head", "head_dist")
    assert back(distilled) == ("head", "head_dist", "sum", "mean", "probabilities")
    assert layers(distilled) == ("trunk",)
    pooled = chain(
        ("Conv", "x w1", "trunk"),
        ("Relu", "trunk", "relu"),
        ("MatMul", "relu w2", "head"),
        ("Add", "head w3", "biased"),
        ("ReduceMean", "biased w4", "mean"),
        ("Softmax", "mean", "probabilities"),
    )
    assert heads(pooled) == ("head",)
    assert layers(pooled) == ("trunk",)
    assert front(pooled) == ()


def test_attention_is_no_head() -> None:
    attention = chain(
        ("MatMul", "x w1", "q"),
        ("MatMul", "x w2", "v"),
        ("Softmax", "q", "softmax"),
        ("MatMul", "softmax v", "mixed"),
        ("MatMul", "mixed w3", "head"),
        ("Softmax", "head", "probabilities"),
    )
    assert heads(attention) == ("head",)
    assert layers(attention) == ("q", "v")
