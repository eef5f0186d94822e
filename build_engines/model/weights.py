"""A model with its weights: timm's own, random ones, or those of a checkpoint in whatever form it came."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_engines.errors import (
    CheckpointMismatchError,
    CheckpointUnreadableError,
    ClassesMismatchError,
    UnsupportedModelError,
    first_line,
)
from build_engines.model.architecture import SEED, Architecture, current_name
from build_engines.model.fit import compare
from build_engines.model.fitting import Fitted, fit_one
from build_engines.model.hub import pretrained
from build_engines.model.layouts import data_of
from build_engines.model.model_folder import folder_files, read_folder
from build_engines.model.nesting import chosen, networks
from build_engines.model.weight_files import read_file
from build_engines.plan import Plan

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Weights:
    """A model, and where it is from."""

    model: "nn.Module"
    name: str
    """timm's."""
    classes: int
    origin: str
    layout: str = ""
    """How the checkpoint named its tensors."""
    arguments: str = ""
    """What the checkpoint says that timm's name does not."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """How the model takes pictures, where the checkpoint says it, as `timm.data` names it."""
    labels: tuple[str, ...] | None = None
    """The checkpoint's own."""
    architecture: Architecture | None = None
    """What makes the model again."""


def load_weights(plan: Plan, labels: int | None) -> Weights:
    """The model of `plan`; `labels` is how many labels it was given.

    Raises:
        SourceError: its parts do not exist, do not fit, or contradict each other.
    """
    claims = [("--num-classes", plan.num_classes), (str(plan.labels), labels)]
    if plan.checkpoint and plan.checkpoint.is_dir():
        return _of_folder(plan, plan.checkpoint, claims)
    return _of_file(plan, plan.checkpoint, claims) if plan.checkpoint else _of_timm(plan, claims)


def load_encoder(plan: Plan) -> Weights:
    """As `load_weights`, but the weights may be an encoder without a classifier, as pretraining leaves it: 0 classes.

    Raises:
        SourceError: as there.
    """
    try:
        return load_weights(plan, None)
    except CheckpointMismatchError:
        if not plan.checkpoint or plan.checkpoint.is_dir():
            raise
        origin, architecture = plan.checkpoint.name, Architecture(current_name(plan.model), image_size=plan.image_size)
        content = read_file(plan.checkpoint)
        key = plan.checkpoint_key
        found = {key: chosen(content, key, origin)} if key else networks(content, origin)
        try:
            fitted = fit_one(found, origin, architecture, classes=0, resample=plan.image_size is not None)
        except CheckpointMismatchError:
            fitted = None
        if fitted is None:
            raise  # What was said of the whole model names the likely cause.
        return _weights(fitted, 0)


def checkpoint_files(checkpoint: Path) -> tuple[Path, ...]:
    """The files of a checkpoint, which decide what it gives.

    Raises:
        CheckpointUnreadableError: there are none.
    """
    if checkpoint.is_dir():
        return folder_files(checkpoint)
    if not checkpoint.is_file():
        raise CheckpointUnreadableError(f"there is no checkpoint {checkpoint}")
    return (checkpoint,)


def _of_timm(plan: Plan, claims: "list[tuple[str, int | None]]") -> Weights:
    name = current_name(plan.model)
    architecture, own = Architecture(name, image_size=plan.image_size), _own_classes(name)
    if plan.pretrained:
        claims.append((f"the pretrained head of {name}", own))
    classes = _some(name, _agree(claims) or own)
    if plan.pretrained:
        model, origin = pretrained(name, plan.image_size), "pretrained, from timm"
    else:
        model, origin = architecture.create(classes), f"random, seed {SEED}"
    return Weights(model, name, classes, origin, architecture=architecture)


def _of_file(plan: Plan, checkpoint: Path, claims: "list[tuple[str, int | None]]") -> Weights:
    content, origin = read_file(checkpoint), checkpoint.name
    key = plan.checkpoint_key
    found = {key: chosen(content, key, origin)} if key else networks(content, origin)
    name, size = current_name(plan.model), plan.image_size
    hint = _agree(claims) or _own_classes(name) or 1
    fitted = fit_one(found, origin, Architecture(name, image_size=size), classes=hint, resample=size is not None)
    return _weights(fitted, _agree([*claims, (fitted.origin, fitted.classes)]) or hint, data_of(fitted.layout))


def _of_folder(plan: Plan, folder: Path, claims: "list[tuple[str, int | None]]") -> Weights:
    found = read_folder(folder)
    fitted = found.fitted
    named = None if plan.labels else len(found.labels or ()) or None
    classes = _some(folder.name, _agree([*claims, (fitted.origin, fitted.classes), ("id2label", named)]) or 0)
    if plan.model:
        _check_named(current_name(plan.model), fitted, classes)
    if plan.image_size:
        _resize(fitted.model, plan.image_size)
    return _weights(fitted, classes, found.data, found.labels)


def _weights(
    fitted: Fitted, classes: int, data: Mapping[str, Any] | None = None, labels: tuple[str, ...] | None = None
) -> Weights:
    made = fitted.architecture
    return Weights(fitted.model, made.name, classes, fitted.origin, fitted.layout, made.words, data or {}, labels, made)


def _check_named(name: str, fitted: Fitted, classes: int) -> None:
    """Refuse a folder beside the name of another model, where its own is known to be another one."""
    fit = compare(
        fitted.model.state_dict(), Architecture(name, head_layers=fitted.architecture.head_layers).create(classes)
    )
    if not fit.exact:
        raise CheckpointMismatchError(
            f"{fitted.origin} is not a model like {name}: {fit.words(name)}. Its config.json says what it is: leave "
            "the name out"
        )


def _resize(model: "nn.Module", image_size: int) -> None:
    """Resample the positions of a folder's model as timm does; what takes any size stays as it is."""
    sized: Any = getattr(model, "encoder", model)
    if hasattr(sized, "set_input_size"):
        try:
            sized.set_input_size(img_size=(image_size, image_size))
        except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise UnsupportedModelError(
                f"{type(sized).__name__} cannot be resampled to pictures of {image_size} x {image_size} "
                f"({first_line(error)}); leave out --image-size, or name another"
            ) from error


def _own_classes(name: str) -> int:
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return int(cfg.num_classes) if cfg else 0


def _some(name: str, classes: int) -> int:
    if classes == 0:
        raise UnsupportedModelError(
            f"{name} has no classification head of its own; give a --checkpoint that has one and its --labels"
        )
    return classes


def _agree(claims: Sequence[tuple[str, int | None]]) -> int | None:
    """The number of classes on which all agree who name one."""
    named = [(who, count) for who, count in claims if count is not None]
    for who, count in named[1:]:
        first, expected = named[0]
        if count != expected:
            raise ClassesMismatchError(f"{first} says {expected} classes, {who} says {count}; make them agree")
    return named[0][1] if named else None
