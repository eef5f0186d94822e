"""Graphs in ONNX Runtime: the right answers, the right options, and errors that say what to do."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from build_engines.errors import InvalidOutputError
from build_engines.graph.onnxruntime_session import open_graph
from build_engines.values import Pixels, Probabilities, answers
from contract.cpus import available_cpus

CLASSES = 3


def weights() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(0, 0.01, (12, CLASSES)).astype(np.float32)


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """A graph of one layer, for pictures of 2 x 2."""
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["levels", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 2, 2, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(weights(), "weights"), numpy_helper.from_array(np.array([-1, 12]), "shape")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def some(count: int) -> Pixels:
    return np.random.default_rng(count).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)


@pytest.mark.parametrize("exact", [False, True])
def test_a_graph_answers_as_it_computes(linear: Path, exact: bool) -> None:
    images = some(7)
    logits = images.reshape(7, 12).astype(np.float32) @ weights()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    got = open_graph(linear, exact=exact).run(images)
    assert got.dtype == np.float32
    assert np.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 7, 8])
def test_pictures_are_answered_in_order_whatever_the_batch(linear: Path, batch: int) -> None:
    session = open_graph(linear)
    assert np.allclose(answers(session, some(7), batch), session.run(some(7)), atol=1e-6)


def test_a_graph_is_opened_as_it_is_served(linear: Path) -> None:
    options = open_graph(linear)._session.get_session_options()
    assert options.intra_op_num_threads == available_cpus()
    assert options.inter_op_num_threads == 1
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    assert options.get_session_config_entry("session.x64quantprecision") == "1"


def test_an_exact_graph_is_not_optimised(linear: Path) -> None:
    session = open_graph(linear, exact=True, threads=1)
    options = session._session.get_session_options()
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert options.intra_op_num_threads == 1
    assert session.runtime == f"ONNX Runtime {onnxruntime.__version__}, 1 CPU thread, without its optimiser"


def test_the_runtime_is_named(linear: Path) -> None:
    assert open_graph(linear, threads=2).runtime == f"ONNX Runtime {onnxruntime.__version__}, 2 CPU threads"


def test_a_graph_that_cannot_be_opened_is_refused_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_text("not a graph")
    for name in ("broken.onnx", "missing.onnx"):
        with pytest.raises(InvalidOutputError, match=f"cannot run {name}") as caught:
            open_graph(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)


def test_pictures_that_do_not_fit_are_refused(linear: Path) -> None:
    with pytest.raises(InvalidOutputError, match=r"cannot run model\.onnx on the CPU: .*image"):
        open_graph(linear).run(np.zeros((1, 3, 2, 3), np.uint8))


class Half:
    """A `Session` that loses pictures."""

    runtime = "half"

    def run(self, images: Pixels) -> Probabilities:
        """See `Session.run`."""
        return np.zeros((len(images) // 2, CLASSES), np.float32)


def test_a_row_for_each_picture_is_demanded() -> None:
    with pytest.raises(InvalidOutputError, match=r"4 pictures were answered with an array of shape \[2, 3\]"):
        answers(Half(), some(8), batch=4)
