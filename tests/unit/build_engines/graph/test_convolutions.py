"""INT8 of CNNs for a CPU: ONNX Runtime computes every convolution in 8 bits, and any of them can be taken back."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_engines.graph import export_graph, open_graph
from build_engines.graph.conversion import Recipe, convert
from build_engines.graph.layers import activations, layers
from build_engines.graph.packing import pack_weights
from build_engines.graph.qdq import check_like, quantised, strip
from build_engines.model import load_timm_model
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.values import Graph, Precision, describe
from contract.spec import Preprocessing
from tests.unit.build_engines.graph.converted import answers
from tests.unit.build_engines.tiny import SIDE, scrambled

PIXELS = made_pictures(64, Preprocessing(SIDE, SIDE, 1.0))
REGISTER = ("tests.unit.build_engines.tiny",)
ACTIVATIONS = {"tiny_resnet": "Relu", "tiny_lite": "Clip", "tf_tiny_efficientnet": "Sigmoid"}
"""What stands behind most convolutions of each model."""


def exported(model: str, folder: Path) -> Graph:
    """The FP32 graph of a tiny model with weights of which no two are alike."""
    (folder / "labels.txt").write_text("a\nb\nc\n")
    plan = Plan(model, folder, pretrained=False, register=REGISTER, labels=folder / "labels.txt")
    loaded = load_timm_model(plan)
    scrambled(loaded.classifier.model)
    return export_graph(loaded.classifier, folder)


@pytest.fixture(scope="module", params=ACTIVATIONS)
def model(request: pytest.FixtureRequest) -> str:
    """One model after the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def wide(model: str, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """In FP32."""
    return exported(model, tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="module", params=["entropy", "max"])
def narrow(request: pytest.FixtureRequest, wide: Graph, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """In INT8, by one way to find ranges after the other."""
    recipe = Recipe(Precision.INT8, for_engine=False, method=request.param)
    return convert(wide, recipe, PIXELS, tmp_path_factory.mktemp("int8"))


def as_computed(graph: Graph, folder: Path) -> "Counter[str]":
    """How many nodes of each op ONNX Runtime makes of a graph when it loads it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(str(folder / "optimized.onnx")).graph.node)


def test_every_convolution_is_computed_in_8_bits_and_what_cuts_behind_it_for_nothing(
    wide: Graph, narrow: Graph, model: str, tmp_path: Path
) -> None:
    source = onnx.load(str(wide.path))
    named = layers(source)
    found = as_computed(pack_weights(narrow, tmp_path), tmp_path)
    assert (found["QLinearConv"], found["Conv"], found["FusedConv"]) == (len(named), 0, 0)
    kind = ACTIVATIONS[model]
    behind = activations(source, named)
    assert {node.op_type for node in behind} <= {kind}
    before = Counter(node.op_type for node in source.graph.node)
    assert found[kind] <= before[kind] - len(behind)  # Those behind additions may go as well.


def test_the_contract_and_the_answers_stay(wide: Graph, narrow: Graph) -> None:
    check_like(narrow, wide)
    wanted, found = answers(wide, PIXELS), answers(narrow, PIXELS)
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.9
    assert np.abs(found - wanted).mean() < 0.02
    before = {node.name: node.op_type for node in onnx.load(str(wide.path)).graph.node}
    after = {node.name: node.op_type for node in onnx.load(str(narrow.path)).graph.node}
    assert before.items() <= after.items()


def test_what_is_taken_back_is_computed_as_before(wide: Graph, narrow: Graph, tmp_path: Path) -> None:
    everything = quantised(onnx.load(str(narrow.path)))
    back = strip(narrow, everything, tmp_path)
    assert np.allclose(answers(back, PIXELS), answers(wide, PIXELS), atol=1e-5)
    (tmp_path / "first").mkdir()
    one = strip(narrow, layers(onnx.load(str(wide.path)))[1:2], tmp_path / "first")
    assert np.abs(answers(one, PIXELS) - answers(wide, PIXELS)).mean() < 0.02


def test_weights_and_biases_are_stored_in_the_types_they_are_computed_with(narrow: Graph, tmp_path: Path) -> None:
    proto = onnx.load(str(pack_weights(narrow, tmp_path).path))
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    makers = {output: node for node in proto.graph.node for output in node.output}
    for node in proto.graph.node:
        if node.op_type == "Conv":
            stored = [types.get(makers[name].input[0], TensorProto.UINT8) for name in node.input]
            assert stored == [TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32][: len(stored)]


def test_a_model_with_products_is_left_to_modelopt(tmp_path: Path) -> None:
    graph = exported("tiny_convnext", tmp_path)
    (tmp_path / "int8").mkdir()
    narrow = convert(graph, Recipe(Precision.INT8, for_engine=False, method="max"), PIXELS, tmp_path / "int8")
    proto = onnx.load(str(narrow.path))
    kinds = {node.name: node.op_type for node in proto.graph.node}
    assert {kinds[name] for name in quantised(proto)} <= {"MatMul", "Gemm"}


def test_convolutions_of_eight_bits_do_not_saturate_on_any_cpu(tmp_path: Path) -> None:
    """Two products of 255 and 127 are more than 16 bits hold, in which CPUs without VNNI would add them."""
    channels = 64
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        make("Transpose", ["float"], ["x"], perm=[0, 3, 1, 2]),
        make("QuantizeLinear", ["x", "one", "zero"], ["x_levels"]),
        make("DequantizeLinear", ["x_levels", "one", "zero"], ["x_again"]),
        make("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["weight_again"]),
        make("Conv", ["x_again", "weight_again"], ["y"]),
        make("QuantizeLinear", ["y", "y_scale", "zero"], ["y_levels"]),
        make("DequantizeLinear", ["y_levels", "y_scale", "zero"], ["y_again"]),
        make("Flatten", ["y_again"], ["probabilities"]),
    ]
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "weight": np.full((2, channels, 1, 1), 127, np.int8),
        "weight_scale": np.float32(1 / 127),
        "weight_zero": np.int8(0),
        "y_scale": np.float32(channels),
    }
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, 1, channels])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    found = open_graph(path).run(np.full((1, 1, 1, channels), 255, np.uint8))
    assert found.tolist() == [[255.0 * channels] * 2]
    assert as_computed(describe(path), tmp_path)["QLinearConv"] == 1
