"""The step `reference`: what the model itself answers in torch, on the pictures for evaluation."""

from pathlib import Path

import numpy as np

from build_engines.model import TimmModel, torch_answers
from build_engines.values import Pixels, Probabilities

_FILE = "answers.npy"


def refer(model: TimmModel, pixels: Pixels, folder: Path) -> None:
    """Write the answers to `pixels` into `folder`."""
    np.save(folder / _FILE, torch_answers(model.classifier, pixels))


def load_reference(folder: Path) -> Probabilities:
    """The answers that `refer` wrote."""
    answers: Probabilities = np.load(folder / _FILE)
    return answers
