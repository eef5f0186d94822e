"""Whether a variant may be published: what was measured against what is allowed. Measures nothing."""

import math
from dataclasses import dataclass

from build_engines.judge.accuracy import Accuracy, Labelled
from build_engines.judge.speed import Race

_TELLING = 0.10
"""How much more often than always naming the commonest class the FP32 model must be right for a drop to mean anything:
an untrained model cannot get worse."""
_Z = 1.96
"""Standard deviations to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Gate:
    """What a variant must keep to."""

    max_top1_drop: float = 1.0
    """Points, where the pictures have labels that the FP32 model knows something of."""
    min_agreement: float = 0.98
    """Share of pictures with FP32's top-1, where they have not."""
    min_speedup: float = 1.0
    """Over the next higher precision; the variant must be above it."""


GATE = Gate()
"""What builds are held to."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a variant, in sentences for a report."""

    passed: bool
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    """What was not judged, and what the numbers are too few for."""


def judge(accuracy: Accuracy, race: Race | None, gate: Gate, *, no_race: str = "") -> Verdict:
    """Hold a variant to `gate`.

    Args:
        accuracy: the variant's.
        race: against the next higher precision on the same runtime, or None where there was none.
        gate: the limits.
        no_race: why there was none; then speed is not judged, and a note says so.
    """
    failures: list[str] = []
    notes: list[str] = []
    if accuracy.labelled and _telling(accuracy.labelled):
        _judge_top1(accuracy, accuracy.labelled, gate.max_top1_drop, failures, notes)
    else:
        if accuracy.labelled:
            notes.append(_untelling(accuracy.labelled))
        _judge_agreement(accuracy, gate.min_agreement, failures, notes)
    if race:
        _judge_speed(race, gate.min_speedup, failures, notes)
    else:
        notes.append(f"speed was not judged: {no_race}" if no_race else "speed was not judged")
    return Verdict(not failures, tuple(failures), tuple(notes))


def drop_interval(lost: int, gained: int, pictures: int) -> tuple[float, float]:
    """The 95 % interval of the drop of top-1 in points, from the pictures on which only one of the two was right.

    The normal interval of a paired difference with half a picture added to each of the four counts, so that it has a
    width where no picture changed (Agresti and Min, Statistics in Medicine 24, 2005).
    """
    total, apart = pictures + 2, lost + gained + 1
    mean = (lost - gained) / total
    width = _Z * math.sqrt(apart - total * mean**2) / total
    return 100 * (mean - width), 100 * (mean + width)


def share_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share that was counted in `count` pictures (Wilson's)."""
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    width = _Z * math.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2) / (1 + _Z**2 / count)
    return centre - width, centre + width


def _telling(labelled: Labelled) -> bool:
    return labelled.reference_top1 - labelled.commonest >= _TELLING


def _untelling(labelled: Labelled) -> str:
    return (
        f"the labels could not tell: FP32 itself is right on {100 * labelled.reference_top1:.2f} % of the pictures, "
        f"and naming the commonest class each time would be on {100 * labelled.commonest:.2f} %, so that a drop would "
        "hardly show; agreement with FP32 was judged instead"
    )


def _judge_top1(accuracy: Accuracy, labelled: Labelled, limit: float, failures: list[str], notes: list[str]) -> None:
    drop = 100 * (labelled.lost - labelled.gained) / accuracy.pictures
    if not drop <= limit:
        fell, allowed = _apart(drop, limit)
        failures.append(
            f"top-1 fell by {fell} points ({100 * labelled.reference_top1:.2f} % to {100 * labelled.top1:.2f} %), at "
            f"most {allowed} is allowed"
        )
    low, high = drop_interval(labelled.lost, labelled.gained, accuracy.pictures)
    if low <= limit < high:
        notes.append(
            f"{accuracy.pictures:,} pictures are too few to be sure of the drop: with 95 % certainty it lies between "
            f"{low:+.2f} and {high:+.2f} points, and {limit:.2f} is allowed"
        )


def _judge_agreement(accuracy: Accuracy, limit: float, failures: list[str], notes: list[str]) -> None:
    if not accuracy.agreement >= limit:
        agrees, demanded = _apart(100 * accuracy.agreement, 100 * limit)
        failures.append(f"top-1 is FP32's on {agrees} % of the pictures, at least {demanded} % is demanded")
    low, high = share_interval(accuracy.agreement, accuracy.pictures)
    if low < limit <= high:
        notes.append(
            f"{accuracy.pictures:,} pictures are too few to be sure of the agreement: with 95 % certainty it lies "
            f"between {100 * low:.2f} % and {100 * high:.2f} %, and {100 * limit:.2f} % is demanded"
        )


def _judge_speed(race: Race, limit: float, failures: list[str], notes: list[str]) -> None:
    against = race.against.value.upper()
    if not race.speedup > limit:
        speed, demanded = _apart(race.speedup, limit)
        failures.append(
            f"it is {speed} times as fast as {against} ({race.runtime}), more than {demanded} times is demanded"
        )
    wins, rounds = sum(race.wins), race.rounds
    if limit == 1 and abs(wins - rounds / 2) <= _Z * math.sqrt(rounds) / 2:
        notes.append(
            f"it took less time than {against} in {wins:,} of {rounds:,} pairs of runs, which chance alone may do: the "
            "two are about as fast"
        )


def _apart(value: float, limit: float) -> tuple[str, str]:
    """Both with as many decimals, two at least, as it takes to tell them apart, where they differ."""
    decimals = next((each for each in range(2, 7) if f"{value:.{each}f}" != f"{limit:.{each}f}"), 2)
    return f"{value:.{decimals}f}", f"{limit:.{decimals}f}"
