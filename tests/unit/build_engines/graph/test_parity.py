"""Parity: measured on real answers, refused on wrong ones."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from build_engines.errors import ParityError
from build_engines.graph.parity import Parity, compare_answers, measure_parity
from build_engines.model import TimmModel, torch_answers
from build_engines.pictures import made_pictures
from build_engines.values import Classifier, Graph, describe


def measured(graph: Graph, classifier: Classifier, *sizes: int) -> Parity:
    batches = [made_pictures(size, classifier.preprocessing) for size in sizes]
    return measure_parity(graph, lambda images: torch_answers(classifier, images), batches)


EVEN = np.full((1, 4), 0.25, dtype=np.float32)


def rows(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array([values], dtype=np.float32)


def test_a_graph_answers_what_its_model_answers(graph: Graph, source: TimmModel) -> None:
    parity = measured(graph, source.classifier, 1, 2, 5)
    assert parity.batches == (1, 2, 5)
    assert parity.max_abs_diff < 1e-5
    assert parity.max_log_diff < 1e-4
    assert parity.agreement == 1.0


def test_a_batch_of_one_can_be_the_largest(graph: Graph, source: TimmModel) -> None:
    assert measured(graph, source.classifier, 1).batches == (1,)


class Shifted(nn.Module):
    """A model whose logits are a little off."""

    def __init__(self, model: nn.Module, by: float) -> None:
        super().__init__()
        self.model, self.by = model, by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.model(x).clone()
        logits[:, 3] += self.by
        return logits


@pytest.mark.parametrize(("by", "message"), [(0.01, "does not answer as"), (float("nan"), "the model answers NaN")])
def test_another_model_is_refused(graph: Graph, source: TimmModel, by: float, message: str) -> None:
    other = dataclasses.replace(source.classifier, model=Shifted(source.classifier.model, by))
    with pytest.raises(ParityError, match=message):
        measured(graph, other, 1, 2)


def test_another_normalisation_is_refused(graph: Graph, source: TimmModel) -> None:
    other = dataclasses.replace(source.classifier, mean=(0.5, 0.5, 0.5))
    with pytest.raises(ParityError, match="does not answer as"):
        measured(graph, other, 1, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(ParityError, match="the graph answers NaN or infinity at batch 1"):
        compare_answers([(EVEN, rows(0.25, value, 0.25, 0.25))])


def test_a_number_below_0_is_refused_however_small() -> None:
    with pytest.raises(ParityError, match="the graph answers with numbers below 0 at batch 1"):
        compare_answers([(rows(0.5, 0.5, 0.0), rows(0.5, 0.5, -1e-6))])


def test_another_shape_is_refused() -> None:
    with pytest.raises(ParityError, match=r"answers \(1, 4\) at batch 1, the graph \(1, 3\)"):
        compare_answers([(EVEN, rows(0.3, 0.3, 0.4))])


def test_a_tie_may_fall_either_way() -> None:
    parity = compare_answers([(rows(0.4, 0.4, 0.2), rows(0.4, 0.400001, 0.2))])
    assert parity.agreement == 0.0


def test_another_top1_is_refused_even_within_the_tolerance() -> None:
    with pytest.raises(ParityError, match=r"top-1 agrees on 0\.0%"):
        compare_answers([(rows(0.40005, 0.4, 0.19995), rows(0.4, 0.40005, 0.19995))])


def test_small_probabilities_are_compared_by_their_logarithms() -> None:
    expected = np.full((1, 1000), 1e-3, dtype=np.float32)
    got = expected.copy()
    got[0, 0] += 5e-5
    with pytest.raises(ParityError, match="logarithms"):
        compare_answers([(expected, got)])


def test_a_graph_that_cannot_run_has_no_parity(source: TimmModel, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ParityError, match="ONNX Runtime cannot run model"):
        measured(describe(tmp_path / "model.onnx"), source.classifier, 1, 2)
