"""The steps `export` and `reference`: a model as a graph that is compared with it, and its own answers in torch."""

from pathlib import Path

import numpy as np

from build_engines.graph import Facts, check_contract, export_graph, measure_parity, save_facts
from build_engines.model import TimmModel, torch_answers
from build_engines.pictures import made_pictures
from build_engines.values import Pixels, Probabilities
from contract.config import OUTPUT

_ANSWERS = "answers.npy"


def export(model: TimmModel, largest: int, folder: Path) -> None:
    """Write the FP32 graph of `model` and its facts into `folder`, compared at batch 1, 2 and `largest`."""
    classifier = model.classifier
    graph = export_graph(classifier, folder)
    check_contract(graph, classifier.preprocessing, {OUTPUT: (classifier.classes,)})
    batches = [made_pictures(size, classifier.preprocessing) for size in sorted({1, min(2, largest), largest})]
    parity = measure_parity(graph, lambda images: torch_answers(classifier, images), batches)
    save_facts(Facts(classifier.preprocessing, model.labels, model.provenance, parity), folder)


def refer(model: TimmModel, pixels: Pixels, folder: Path) -> None:
    """Write the answers to `pixels` into `folder`."""
    np.save(folder / _ANSWERS, torch_answers(model.classifier, pixels))


def load_reference(folder: Path) -> Probabilities:
    """The answers that `refer` wrote."""
    answers: Probabilities = np.load(folder / _ANSWERS)
    return answers
