"""The graph keeps the contract, and the check notices when one does not."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from onnx import TensorProto, helper
from torch import nn

from build_engines.errors import ExportError
from build_engines.graph.exporter import OPSET, check_contract, export_graph
from build_engines.model import TimmModel, torch_answers
from build_engines.values import Classifier, Graph
from contract.spec import Preprocessing
from tests.unit.build_engines.architectures import Linear
from tests.unit.build_engines.graph.converted import texts
from tests.unit.build_engines.tiny import scrambled


def check(graph: Graph, classifier: Classifier) -> None:
    """As a build checks it."""
    check_contract(graph, classifier.preprocessing, {"probabilities": (classifier.classes,)})


def broken(tmp_path: Path, graph: Graph, change: str) -> Graph:
    """A copy of `graph` that breaks the contract in one way."""
    proto = onnx.load(graph.path)
    match change:
        case "float input":
            proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
        case "fixed batch":
            proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
        case "output name":
            proto.graph.output[0].name = "scores"
            proto.graph.node[-1].output[0] = "scores"
        case "second reader":
            proto.graph.node.append(helper.make_node("Shape", ["image"], ["unused"]))
        case "no cast first":
            cast = proto.graph.node[0]
            proto.graph.node.insert(0, helper.make_node("Identity", ["image"], ["same"]))
            cast.input[0] = "same"
        case "dangling":
            proto.graph.node[1].input[0] = "nowhere"
    path = tmp_path / "broken.onnx"
    onnx.save(proto, path)
    return dataclasses.replace(graph, path=path)


def test_a_graph_is_one_checked_file(graph: Graph, source: TimmModel) -> None:
    check(graph, source.classifier)
    assert [file.name for file in graph.files] == ["model.onnx"]
    assert graph.size == graph.path.stat().st_size
    assert graph.sha256 == hashlib.sha256(graph.path.read_bytes()).hexdigest()
    assert {opset.domain: opset.version for opset in onnx.load(graph.path).opset_import} == {"": OPSET}


def test_it_takes_pictures_and_answers_probabilities(graph: Graph) -> None:
    session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    for batch in (1, 3, 9):
        answers = session.run(None, {"image": np.full((batch, 32, 32, 3), 200, np.uint8)})
        assert [answer.shape for answer in answers] == [(batch, 10)]
        assert np.allclose(answers[0].sum(axis=1), 1)


def test_it_carries_no_weights_twice_and_nothing_of_this_machine(graph: Graph) -> None:
    proto = onnx.load(graph.path)
    large = [value.raw_data for value in proto.graph.initializer if len(value.raw_data) > 64]
    assert len(large) == len(set(large))
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    for path in (Path(__file__).parents[4], Path(torch.__file__).parents[1]):
        assert [text for text in texts(proto) if f"{path}/" in text] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("float input", "must be"),
        ("fixed batch", "must be"),
        ("output name", "must be"),
        ("second reader", "only one Cast may read"),
        ("no cast first", "first op must be the Cast"),
        ("dangling", "onnx.checker refuses"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(
    tmp_path: Path, graph: Graph, source: TimmModel, change: str, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        check(broken(tmp_path, graph, change), source.classifier)


class Branching(Linear):
    """What it does depends on the values of the picture, which no graph can say."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, sometimes."""
        return super().forward(x if x.sum() > 0 else -x)


def of(model: nn.Module) -> Classifier:
    return Classifier(model.eval(), Preprocessing(8, 8), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), 2)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    classifier = of(Linear("linear_8"))
    (tmp_path / "again").mkdir()
    assert export_graph(classifier, tmp_path).sha256 == export_graph(classifier, tmp_path / "again").sha256


def test_weights_too_large_for_one_file_go_beside_it(tmp_path: Path) -> None:
    classifier = of(Linear("linear_8"))
    graph = export_graph(classifier, tmp_path, single_file_limit=100)
    assert [file.name for file in graph.files] == ["model.onnx", "model.onnx.data"]
    assert graph.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    check(graph, classifier)
    session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.zeros((3, 8, 8, 3), np.uint8)})[0].shape == (3, 2)


def test_a_model_that_cannot_be_exported_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"torch\.onnx\.export failed"):
        export_graph(of(Branching("linear_8")), tmp_path)


def test_attention_with_positions_as_a_bias_is_exported(tmp_path: Path) -> None:
    model = scrambled(timm.create_model("tiny_beit"))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    classifier = Classifier(model, Preprocessing(32, 32), (0.5,) * 3, (0.2,) * 3, 3)
    wanted = torch_answers(classifier, pictures)
    graph = export_graph(classifier, tmp_path)
    (answers,) = onnxruntime.InferenceSession(graph.path).run(None, {"image": pictures})
    np.testing.assert_allclose(answers, wanted, atol=1e-5)
