"""How right a model is, and how well it knows: from its answers to pictures whose class is known."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vitrine.answers import Classification
from vitrine.records import Failure, Record

BINS = 15
"""Of equal width, as in Guo et al. 2017."""
_Z95 = 1.959963984540054
"""Standard normal quantile of 0.975."""


@dataclass(frozen=True)
class Share:
    """So many of so many, with its 95 % interval by Wilson (1927)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """0 to 1."""
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the interval, 0 to 1."""
        if not self.of:
            return math.nan, math.nan
        share, spread = self.value, _Z95**2 / self.of
        middle = share + spread / 2
        half = _Z95 * math.sqrt(share * (1 - share) / self.of + spread / (4 * self.of))
        return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


@dataclass(frozen=True)
class Bin:
    """The pictures whose highest probability lies in one range."""

    pictures: int
    confidence: float
    """Mean of the highest probability; 0 without pictures."""
    accuracy: float
    """Share of them that is right; 0 without pictures."""


@dataclass(frozen=True)
class Confusion:
    """Pictures of one class that were taken for another."""

    label: str
    taken_for: str
    share: Share
    """Of the pictures of that class."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. Pictures without an answer count as wrong."""

    top1: Share
    top5: Share
    failed: Counter[str]
    """Pictures without an answer, by code."""
    matrix: dict[tuple[str, str], int]
    """Pictures by their class and the class that was answered."""
    bins: tuple[Bin, ...]
    """From the least confident to the most; `BINS` of them."""

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3), 0 to 1:
        how far confidence is from accuracy, in the mean over the pictures that were answered.
        """
        answered = sum(each.pictures for each in self.bins)
        if not answered:
            return math.nan
        return sum(each.pictures * abs(each.confidence - each.accuracy) for each in self.bins) / answered

    def confusions(self, most: int) -> list[Confusion]:
        """The most frequent ones, by how many pictures they are."""
        of = Counter[str]()
        for (label, _), count in self.matrix.items():
            of[label] += count
        wrong = [(count, *pair) for pair, count in self.matrix.items() if pair[0] != pair[1]]
        wrong.sort(key=lambda each: (-each[0], each[1:]))
        return [Confusion(label, other, Share(count, of[label])) for count, label, other in wrong[:most]]


def evaluate(records: Iterable[tuple[str, Record]]) -> Evaluation:
    """Judge records by the label of each."""
    total = first = within_five = 0
    failed, matrix = Counter[str](), Counter[tuple[str, str]]()
    judged: list[tuple[float, bool]] = []
    for label, record in records:
        total += 1
        if isinstance(record.outcome, Failure):
            failed[record.outcome.code] += 1
            continue
        best, right, near = _judged(record.outcome, label)
        first, within_five = first + right, within_five + near
        matrix[label, best] += 1
        judged.append((record.outcome.predictions[0].score, right))
    return Evaluation(Share(first, total), Share(within_five, total), failed, dict(matrix), _bins(judged))


def _judged(answer: Classification, label: str) -> tuple[str, bool, bool]:
    labels = [prediction.label for prediction in answer.predictions]
    return labels[0], labels[0] == label, label in labels[:5]


def _bins(judged: Sequence[tuple[float, bool]]) -> tuple[Bin, ...]:
    """Bin m holds those of which the highest probability is above (m-1)/M and at most m/M."""
    held: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for score, right in judged:
        held[min(BINS - 1, max(0, math.ceil(score * BINS) - 1))].append((score, right))
    return tuple(
        Bin(
            len(each),
            sum(score for score, _ in each) / len(each) if each else 0.0,
            sum(right for _, right in each) / len(each) if each else 0.0,
        )
        for each in held
    )
