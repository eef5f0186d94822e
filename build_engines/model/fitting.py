"""From the networks in a file to the one that fits a model exactly, or to the reason why none does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from build_engines.errors import CheckpointKeyError, CheckpointMismatchError, CheckpointUnreadableError
from build_engines.model.architecture import Architecture
from build_engines.model.fit import Fit, compare, likely_cause
from build_engines.model.layouts import readings
from build_engines.model.nesting import AVERAGES, Tensors, counted, groups, levels, listed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Fitted:
    """A model with the weights of a checkpoint."""

    model: "nn.Module"
    architecture: Architecture
    origin: str
    """The file's name, and where in it the weights were."""
    layout: str
    classes: int | None
    """How many its head says, where timm says which layer that is."""


@dataclass(frozen=True)
class _Attempt:
    key: str
    names: Tensors
    """As the file has them."""
    tensors: Tensors
    """By timm's names."""
    model: "nn.Module"
    architecture: Architecture
    layout: str
    fit: Fit
    classes: int | None


def fit_one(
    found: Mapping[str, Tensors], origin: str, architecture: Architecture, *, classes: int, resample: bool
) -> Fitted:
    """The network of `found` that fits exactly, in whatever layout it is.

    Args:
        found: the networks of a file by their keys.
        origin: the file's name.
        architecture: what they shall fit.
        classes: what the model has where the network's head does not say it.
        resample: whether positions may be resampled to the model's resolution.

    Raises:
        CheckpointMismatchError: none fits; the message names both sides and the likely cause.
        CheckpointKeyError: several different ones fit.
        CheckpointUnreadableError: what fits holds no numbers that a model can compute with.
    """
    search = _Search(architecture, classes, resample)
    attempts = [each for key, tensors in found.items() for each in search.attempts(key, tensors)]
    if not any(each.fit.exact for each in attempts):
        for key, tensors in found.items():
            for word, part in groups(tensors).items():
                attempts += search.attempts(f"{key}.{word}".lstrip("."), part)
    exact = _distinct([each for each in attempts if each.fit.exact])
    if not exact:
        raise CheckpointMismatchError(_mismatch(attempts, found, origin, architecture.name))
    if len(exact) > 1:
        raise CheckpointKeyError(
            f"{origin} holds several networks that fit {architecture.name}: "
            f"{counted({each.key: each.names for each in exact})}; choose one with --checkpoint-key"
        )
    (one,) = exact
    return load(
        one.model, one.tensors, Fitted(one.model, one.architecture, _where(origin, one), one.layout, one.classes)
    )


def load(model: "nn.Module", tensors: Tensors, fitted: Fitted) -> Fitted:
    """`fitted`, once `model` has its weights.

    Raises:
        CheckpointUnreadableError: they are not finite, or whole numbers in the place of real ones.
    """
    wanted = model.state_dict()
    for name, tensor in tensors.items():
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise CheckpointUnreadableError(
                f"{fitted.origin}: {name} holds {str(tensor.dtype).removeprefix('torch.')}, the model wants "
                f"{str(wanted[name].dtype).removeprefix('torch.')}: the weights are quantised; give those from before, "
                "--precision int8 makes ours"
            )
        if not bool(tensor.isfinite().all()):
            raise CheckpointUnreadableError(
                f"{fitted.origin}: {name} holds NaN or infinity: its training diverged; give an earlier checkpoint"
            )
    model.load_state_dict(dict(tensors))
    return fitted


def head_classes(tensors: Tensors, layers: Sequence[str]) -> int | None:
    """How many rows the head `layers` has in `tensors`."""
    weights = (tensors.get(f"{layer}.weight") for layer in layers)
    return next((int(weight.shape[0]) for weight in weights if weight is not None), None)


class _Search:
    """Tries networks against an architecture, and makes each model once: that takes seconds for a large one."""

    def __init__(self, architecture: Architecture, classes: int, resample: bool) -> None:
        self._architecture, self._classes, self._resample = architecture, classes, resample
        self._made: dict[tuple[str, int], nn.Module] = {}

    def attempts(self, key: str, tensors: Tensors) -> Iterator[_Attempt]:
        """Every reading of one network: without the prefixes that all names share, in each layout."""
        for prefix, bare in levels(tensors):
            for architecture in self._architecture.variants(bare):
                first = self._model(architecture, self._classes)
                for given, layout in readings(bare, first, architecture, resample=self._resample):
                    classes = head_classes(given, architecture.classifier)
                    model = self._model(architecture, self._classes if classes is None else classes)
                    where = f"{key}.{prefix}".strip(".")
                    fit = compare(given, model)
                    yield _Attempt(where, bare, given, model, architecture, layout, fit, classes)
                    if fit.exact:
                        return

    def _model(self, architecture: Architecture, classes: int) -> "nn.Module":
        made = architecture.words, classes
        if made not in self._made:
            self._made[made] = architecture.create(classes)
        return self._made[made]


def _distinct(exact: list[_Attempt]) -> list[_Attempt]:
    """Without those that are the same as an earlier one, and without those that another one is an average of."""
    averaged = {AVERAGES[each.key] for each in exact if each.key in AVERAGES}
    kept: list[_Attempt] = []
    for each in exact:
        if each.key not in averaged and not any(_same(each.tensors, other.tensors) for other in kept):
            kept.append(each)
    return kept


def _same(one: Tensors, other: Tensors) -> bool:
    return all(one[name].shape == other[name].shape and bool((one[name] == other[name]).all()) for name in one)


def _where(origin: str, one: _Attempt) -> str:
    return f"{origin}[{one.key}]" if one.key else origin


def _mismatch(attempts: list[_Attempt], found: Mapping[str, Tensors], origin: str, name: str) -> str:
    closest = max(attempts, key=lambda each: (each.fit.common - len(each.fit.shapes), -len(each.fit.unexpected)))
    names = {name: each for tensors in found.values() for name, each in tensors.items()}
    cause = likely_cause(names, closest.fit, origin)
    networks = f". It holds {listed(found)}; --checkpoint-key chooses" if len(found) > 1 else ""
    return (
        f"{_where(origin, closest)} is not a checkpoint of {name}: {closest.fit.words(name)}"
        f"{f'. Probably {cause}' if cause else ''}{networks}"
    )
