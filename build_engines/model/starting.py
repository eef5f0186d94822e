"""The model that a training starts from: a head for its classes on the weights of any checkpoint that is read."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from build_engines.errors import UnsupportedModelError, first_line
from build_engines.model.architecture import Architecture
from build_engines.model.preprocessing import Given, classifier_of
from build_engines.model.timm_model import register
from build_engines.model.weights import load_encoder
from build_engines.plan import Plan
from build_engines.values import Classifier


@dataclass(frozen=True)
class Start:
    """What a training starts from."""

    classifier: Classifier
    architecture: Architecture
    """What makes the model again, without the arguments that only training needs."""
    origin: str
    """Where the weights are from, for people."""


def starting_model(plan: Plan, labels: Sequence[str], seed: int, **arguments: Any) -> Start:
    """The model of `plan` with its weights and, unless its own answers the same labels in the same order, a new head.

    Where a checkpoint does not say its labels, a head of as many classes is taken for one of the same.

    Args:
        plan: the model, its checkpoint, its preprocessing and the modules to import first.
        labels: of the classes that the head answers.
        seed: of the new head, and of the whole model where it has random weights.
        arguments: timm's that only training needs, such as drop_path_rate.

    Raises:
        SourceError: something that the plan names does not exist, does not fit, or cannot be read.
    """
    import torch

    for module in plan.register:
        register(module)
    weights = load_encoder(plan)
    architecture = weights.architecture
    if architecture is None or architecture.head_layers:
        raise UnsupportedModelError(f"{weights.origin} is a linear classifier over several layers; give its backbone")
    if plan.image_size is not None:
        inner = {key: value for key, value in architecture.arguments.items() if key != "img_size"}
        architecture = replace(architecture, arguments=inner, image_size=plan.image_size)
    given, classes = {key: value for key, value in arguments.items() if value}, len(labels)
    try:
        model = replace(architecture, arguments={**architecture.arguments, **given}).create(classes, seed)
    except TypeError as error:
        raise UnsupportedModelError(f"{weights.name} does not take {', '.join(given)} ({first_line(error)})") from error
    if plan.checkpoint or plan.pretrained:
        old = weights.model
        torch.manual_seed(seed)
        others = weights.labels is not None and weights.labels != tuple(labels)
        if weights.classes != classes or others or not plan.checkpoint:
            old.reset_classifier(classes)  # type: ignore[operator]
        model.load_state_dict(old.state_dict())
    classifier = classifier_of(plan.source, model, classes, Given.by(plan), weights.data)
    return Start(classifier, architecture, weights.origin)
