"""The values that the steps hand to each other."""

from build_engines.values.arrays import (
    Classes,
    DeviceSession,
    Maps,
    Pixels,
    Probabilities,
    Session,
    Spent,
    answers,
    check_probabilities,
)
from build_engines.values.attentive import Attentive
from build_engines.values.classifier import Classifier
from build_engines.values.graph import SINGLE_FILE_LIMIT, Graph, describe, sha256
from build_engines.values.precision import STAMP, Compiler, Precision
