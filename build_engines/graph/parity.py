"""Parity: the graph in ONNX Runtime against the model in torch, on the same pictures.

The reference normalises as timm does (0..1, then mean and std), not as the graph does, so that a mistake there shows.
"""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from build_engines.errors import InvalidOutputError, ParityError
from build_engines.graph.onnxruntime_session import open_graph
from build_engines.values.classifier import Classifier
from contract.spec import Preprocessing

TOLERANCE = 1e-4
"""Of a probability."""
LOG_TOLERANCE = 1e-2
"""Of the logarithm of a probability, above `_LIKELY`. An untrained model gives each of its classes nearly the same
probability, 0.001 of 1000, and only the logarithm tells its answers apart."""
_LIKELY = 1e-6
_TIE = 1e-5

Pictures = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """How far the graph's answers are from the model's."""

    batches: tuple[int, ...]
    max_abs_diff: float
    """Of a probability."""
    max_log_diff: float
    """Of the logarithm of a probability."""
    agreement: float
    """Share of pictures with the same top-1; below 1 only where the model itself is undecided."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """What the entry tells of its parity."""
        return {
            "parity.max_abs_diff": f"{self.max_abs_diff:.1e}",
            "parity.max_log_diff": f"{self.max_log_diff:.1e}",
            "parity.batches": ",".join(str(batch) for batch in self.batches),
        }


def measure(path: Path, classifier: Classifier, max_batch_size: int) -> Parity:
    """Compare the graph in `path` with `classifier` at batch 1, 2 and `max_batch_size`.

    Raises:
        ParityError: ONNX Runtime cannot run the graph, or its answers differ by more than rounding.
    """
    batches = tuple(sorted({1, min(2, max_batch_size), max_batch_size}))
    answers = []
    try:
        session = open_graph(path)
        for batch in batches:
            images = pictures(batch, classifier.preprocessing)
            answers.append((reference(classifier, images), session.run(images)))
    except InvalidOutputError as error:
        raise ParityError(str(error)) from error
    return compare(answers, batches)


def compare(answers: Sequence[tuple[Probabilities, Probabilities]], batches: tuple[int, ...]) -> Parity:
    """The parity of pairs of (the model's, the graph's) probabilities.

    Raises:
        ParityError: they differ by more than rounding, or are no probabilities at all.
    """
    for batch, (expected, got) in zip(batches, answers, strict=True):
        for side, rows in (("the model", expected), ("the graph", got)):
            if not np.isfinite(rows).all():
                raise ParityError(f"{side} answers NaN or infinity at batch {batch}; look at the weights")
        if expected.shape != got.shape:
            raise ParityError(f"the model answers {expected.shape} at batch {batch}, the graph {got.shape}")
    wanted = np.concatenate([expected for expected, _ in answers]).astype(np.float64)
    found = np.concatenate([got for _, got in answers]).astype(np.float64)
    likely = wanted > _LIKELY
    logarithms = np.log(np.maximum(found[likely], 1e-30)) - np.log(wanted[likely])
    first, second = wanted.argmax(axis=1), found.argmax(axis=1)
    parity = Parity(
        batches=batches,
        max_abs_diff=float(np.abs(found - wanted).max()),
        max_log_diff=float(np.abs(logarithms).max(initial=0.0)),
        agreement=float((first == second).mean()),
    )
    each = np.arange(len(wanted))
    gap = float((wanted[each, first] - wanted[each, second]).max())
    if parity.max_abs_diff > TOLERANCE or parity.max_log_diff > LOG_TOLERANCE or gap > _TIE:
        raise ParityError(
            f"the graph answers otherwise than the model: probabilities differ by up to {parity.max_abs_diff:.1e} "
            f"(allowed {TOLERANCE:.0e}), their logarithms by {parity.max_log_diff:.1e} (allowed {LOG_TOLERANCE:.0e}), "
            f"top-1 agrees on {parity.agreement:.1%}. Exporter or runtime are at fault: try other versions of them"
        )
    return parity


def pictures(count: int, preprocessing: Preprocessing) -> Pictures:
    """`count` pictures of the input's size, noise and smooth ones in turn, the same each time."""
    random = np.random.default_rng(seed=count)
    size = (preprocessing.width, preprocessing.height)
    images = []
    for index in range(count):
        if index % 2:
            images.append(random.integers(0, 256, (preprocessing.height, preprocessing.width, 3), dtype=np.uint8))
        else:
            blobs = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            images.append(np.asarray(blobs.resize(size, Image.Resampling.BICUBIC)))
    return np.stack(images)


def reference(classifier: Classifier, images: Pictures, *, batch: int = 32) -> Probabilities:
    """The model's own answers in torch, FP32: uint8 `[N, height, width, 3]` to float32 `[N, classes]`."""
    import torch

    mean, std = (torch.tensor(levels).view(1, 3, 1, 1) for levels in (classifier.mean, classifier.std))
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            scaled = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).float() / 255
            rows.append(torch.softmax(classifier.model((scaled - mean) / std), dim=-1).numpy())
    return np.concatenate(rows)
