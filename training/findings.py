"""What is often wrong with people's pictures and labels, in one line each."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from training.dataset import Dataset, Split

_IMBALANCE = 10
"""Times as many pictures of the largest class as of the smallest."""
_FEW = 20
"""Pictures of a class from which hardly anything is learnt."""
_SHOWN = 3


def findings(data: Dataset, edge: int) -> Iterator[str]:
    """What to know of `data` before it is trusted, for a model that sees pictures of `edge` pixels."""
    for name, problem in data.unreadable[:_SHOWN]:
        yield f"left out, it cannot be read: {name} ({problem})"
    if len(data.unreadable) > _SHOWN:
        yield f"left out: {len(data.unreadable) - _SHOWN} more that cannot be read"
    yield from _leaks(data)
    yield from _known(data)
    yield from _contradictions(data)
    yield from _balance(data)
    tiny = [name for split in data.splits.values() for name, size in _sized(split) if max(size) < edge]
    if tiny:
        yield (
            f"{len(tiny)} pictures are smaller than the {edge} pixels that the model sees, such as {tiny[0]}; they are "
            "enlarged, and show no more by that"
        )
    turned = sum(int(split.turned.sum()) for split in data.splits.values())
    if turned:
        yield f"{turned} pictures are turned by their EXIF orientation, as the gateway turns them"


def swapped(confusions: npt.NDArray[np.int64], classes: Sequence[str]) -> Iterator[str]:
    """Pairs of classes that are mostly answered as each other: int64 `[classes, classes]`, shown by answered."""
    totals = confusions.sum(axis=1)
    for one in range(len(classes)):
        for other in range(one + 1, len(classes)):
            if 2 * confusions[one, other] > totals[one] > 0 and 2 * confusions[other, one] > totals[other] > 0:
                yield (
                    f"most of {classes[one]!r} are answered {classes[other]!r}, and the other way round: the two "
                    "labels may be swapped in one of the splits"
                )


def _sized(split: Split) -> Iterator[tuple[str, tuple[int, int]]]:
    yield from zip(split.names, ((int(wide), int(high)) for wide, high in split.sizes), strict=True)


def _leaks(data: Dataset) -> Iterator[str]:
    train = dict(zip(data.train.digests, data.train.names, strict=True))
    for word, split in data.splits.items():
        if word == "train":
            continue
        both = [
            (name, train[digest]) for name, digest in zip(split.names, split.digests, strict=True) if digest in train
        ]
        if both:
            yield (
                f"{len(both)} of {len(split)} pictures of {word} are in train as well, such as {both[0][0]} = "
                f"{both[0][1]}: the accuracy on {word} is better than it will be on new pictures; remove them"
            )


def _known(data: Dataset) -> Iterator[str]:
    for word, split in data.splits.items():
        known = [name for name, file in zip(split.names, split.files, strict=True) if file in data.known]
        if known and word != "train":
            yield (
                f"the weights to start from have learnt from {len(known)} of {len(split)} pictures of {word}, such as "
                f"{known[0]}: the accuracy on {word} is better than it will be on new pictures; remove them"
            )
    if data.known and data.known.issuperset(data.train.files) and data.judging is None:
        yield "no picture is held out to choose by: the weights to start from have learnt from all of them"


def _contradictions(data: Dataset) -> Iterator[str]:
    seen: dict[bytes, tuple[str, int]] = {}
    found = []
    for split in data.splits.values():
        for name, digest, target in zip(split.names, split.digests, split.targets, strict=True):
            first = seen.setdefault(digest, (name, int(target)))
            if first[1] != target:
                found.append((first[0], name))
    if found:
        yield f"{len(found)} pictures are there twice with different labels, such as {found[0][0]} and {found[0][1]}"


def _balance(data: Dataset) -> Iterator[str]:
    counts: Mapping[str, int] = dict(
        zip(data.classes, np.bincount(data.train.targets, minlength=len(data.classes)).tolist(), strict=True)
    )
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    if counts[most] >= _IMBALANCE * max(1, counts[least]):
        yield (
            f"classes are unbalanced: {counts[most]} pictures of {most!r}, {counts[least]} of {least!r}; judge by the "
            "accuracy of each class in the report"
        )
    few = [name for name, count in counts.items() if count < _FEW]
    if few:
        example = f"{few[0]!r} with {counts[few[0]]}"
        yield f"{len(few)} classes have fewer than {_FEW} pictures to train on, such as {example}"
