"""What a variant's answers are worth beside those of the FP32 model on the same pictures. Draws no conclusion."""

from dataclasses import dataclass

import numpy as np

from build_engines.errors import InvalidOutputError
from build_engines.values import Classes, Probabilities, check_probabilities

_TOP = 5


@dataclass(frozen=True)
class Labelled:
    """How often the answers are right, where it is known what the pictures show. Shares are of all pictures, 0 to 1."""

    top1: float
    top5: float | None
    """None where there are 5 classes or fewer, so that no answer can be wrong."""
    reference_top1: float
    reference_top5: float | None
    lost: int
    """Pictures whose top-1 is right in FP32 and wrong in the variant."""
    gained: int
    """The other way round."""
    commonest: float
    """Share of the commonest class: the top-1 of a model that always names it."""


@dataclass(frozen=True)
class Accuracy:
    """A variant's answers compared with the FP32 model's. A tie goes to the lower class index, as it is served."""

    pictures: int
    agreement: float
    """Share of pictures with the same top-1, 0 to 1."""
    max_abs_diff: float
    """Of a probability."""
    mean_abs_diff: float
    """Of a probability, over all classes of all pictures."""
    labelled: Labelled | None = None

    @property
    def top1_drop(self) -> float | None:
        """Points of top-1 that the variant lost; negative where it gained, None without labels."""
        # From counts: as a difference of shares, a drop of exactly 1 point can come out above 1.
        return 100 * (self.labelled.lost - self.labelled.gained) / self.pictures if self.labelled else None


def compare(reference: Probabilities, answers: Probabilities, targets: Classes | None) -> Accuracy:
    """The accuracy of `answers` beside that of `reference`.

    Args:
        reference: the FP32 model's probabilities, float32 `[N, classes]`, N at least 1.
        answers: the variant's, on the same pictures.
        targets: the right class of each picture, int64 `[N]`, each from 0 to classes - 1.

    Raises:
        InvalidOutputError: `answers`, or `reference`, are not probabilities, or not of as many pictures and classes.
    """
    if reference.shape != answers.shape:
        raise InvalidOutputError(
            f"the FP32 model answers with an array of shape {list(reference.shape)}, the variant {list(answers.shape)}"
        )
    check_probabilities("the FP32 model", reference)
    check_probabilities("the variant", answers)
    # float32 throughout: 50,000 pictures of 1000 classes are 200 MB as they are.
    differences = np.abs(answers - reference)
    return Accuracy(
        pictures=len(answers),
        agreement=float((reference.argmax(axis=1) == answers.argmax(axis=1)).mean()),
        max_abs_diff=float(differences.max()),
        mean_abs_diff=float(differences.mean(dtype=np.float64)),
        labelled=None if targets is None else _labelled(reference, answers, targets),
    )


def _labelled(reference: Probabilities, answers: Probabilities, targets: Classes) -> Labelled:
    ranks, reference_ranks = _ranks(answers, targets), _ranks(reference, targets)
    meaningful = answers.shape[1] > _TOP
    return Labelled(
        top1=float((ranks == 0).mean()),
        top5=float((ranks < _TOP).mean()) if meaningful else None,
        reference_top1=float((reference_ranks == 0).mean()),
        reference_top5=float((reference_ranks < _TOP).mean()) if meaningful else None,
        lost=int(((reference_ranks == 0) & (ranks != 0)).sum()),
        gained=int(((reference_ranks != 0) & (ranks == 0)).sum()),
        commonest=float(np.bincount(targets).max() / len(targets)),
    )


def _ranks(rows: Probabilities, targets: Classes) -> Classes:
    """How many classes each row puts before its target: the more probable ones, and equal ones of lower index."""
    wanted = np.take_along_axis(rows, targets[:, None], axis=1)
    before = np.arange(rows.shape[1])[None, :] < targets[:, None]
    ranks: Classes = ((rows > wanted) | ((rows == wanted) & before)).sum(axis=1)
    return ranks
