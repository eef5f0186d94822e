"""The values that the steps hand to each other."""

from build_engines.values.arrays import Classes, Pixels, Probabilities, Session, answers, check_probabilities
from build_engines.values.classifier import Classifier
from build_engines.values.graph import SINGLE_FILE_LIMIT, Graph, describe, sha256
from build_engines.values.precision import Compiler, Precision
from build_engines.values.target import STAMP, Target, target_of

__all__ = [
    "SINGLE_FILE_LIMIT",
    "STAMP",
    "Classes",
    "Classifier",
    "Compiler",
    "Graph",
    "Pixels",
    "Precision",
    "Probabilities",
    "Session",
    "Target",
    "answers",
    "check_probabilities",
    "describe",
    "sha256",
    "target_of",
]
