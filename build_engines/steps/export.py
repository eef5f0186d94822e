"""The step `export`: a model as a graph, compared with it."""

from pathlib import Path

from build_engines.graph import Facts, check_contract, export_graph, measure_parity, save_facts
from build_engines.model import TimmModel, torch_answers
from build_engines.pictures import made_pictures


def export(model: TimmModel, largest: int, folder: Path) -> None:
    """Write the FP32 graph of `model` and its facts into `folder`, compared at batch 1, 2 and `largest`."""
    classifier = model.classifier
    graph = export_graph(classifier, folder)
    check_contract(graph, classifier)
    batches = [made_pictures(size, classifier.preprocessing) for size in sorted({1, min(2, largest), largest})]
    parity = measure_parity(graph, lambda images: torch_answers(classifier, images), batches)
    save_facts(Facts(classifier.preprocessing, model.labels, model.provenance, parity), folder)
