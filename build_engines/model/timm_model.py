"""From a timm name to everything that a graph is made of: the model, how it takes its pictures, and its labels.

Knows no ONNX and no repository.
"""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_engines.errors import (
    CheckpointUnreadableError,
    ClassesMismatchError,
    RegistrationError,
    UnknownModelError,
    UnsupportedModelError,
    first_line,
)
from build_engines.model.checkpoint import Checkpoint, check_fit, read_checkpoint
from build_engines.model.hub import pretrained
from build_engines.model.labels import known_labels, read_labels
from build_engines.model.layouts import to_timm
from build_engines.plan import Plan
from build_engines.values import Classifier, sha256
from contract.spec import ContractError, CropMode, Interpolation, Preprocessing

if TYPE_CHECKING:
    from torch import nn

SEED = 0
"""Of random weights, so that builds repeat."""


@dataclass(frozen=True)
class TimmModel:
    """What a build starts from."""

    classifier: Classifier
    labels: tuple[str, ...]
    provenance: Mapping[str, str]


def load_timm_model(plan: Plan) -> TimmModel:
    """The model of `plan`, with its weights.

    Raises:
        SourceError: something that the plan names does not exist, does not fit, or cannot be read.
    """
    import timm
    import torch

    for module in plan.register:
        _register(module)
    _check_name(plan.model)
    cfg = timm.get_pretrained_cfg(plan.model)
    labels = read_labels(plan.labels) if plan.labels else None
    own_classes = int(cfg.num_classes) if cfg else 0
    checkpoint, layout = _checkpoint(plan.checkpoint, plan.model) if plan.checkpoint else (None, "")
    claims = [("--num-classes", plan.num_classes), (str(plan.labels), len(labels) if labels else None)]
    if checkpoint:
        claims.append((checkpoint.origin, _head_classes(checkpoint, cfg.classifier if cfg else None)))
    elif plan.pretrained:
        claims.append((f"the pretrained head of {plan.model}", own_classes))
    classes = _agree(claims) or own_classes
    if classes == 0:
        raise UnsupportedModelError(
            f"{plan.model} has no classification head of its own; give a --checkpoint that has one and its --labels"
        )
    labels_origin = plan.labels.name if plan.labels else ""
    if labels is None:
        labels, labels_origin = known_labels(classes, own_classes)
    if plan.pretrained and not checkpoint:
        model, weights = pretrained(plan.model), "pretrained, from timm"
    else:
        torch.manual_seed(SEED)
        model, weights = timm.create_model(plan.model, num_classes=classes), f"random, seed {SEED}"
    if checkpoint:
        check_fit(checkpoint, model, plan.model)
        model.load_state_dict(dict(checkpoint.tensors))
        weights = checkpoint.origin
    model = model.float().eval()
    classifier = _classifier(plan.model, model, classes)
    _check_answer(plan.model, classifier)
    architecture, _, tag = str(plan.model).partition(".")
    return TimmModel(
        classifier=classifier,
        labels=labels,
        provenance={
            "timm_name": architecture,
            "timm_tag": tag or (cfg.tag if cfg else None) or "none",
            "weights": weights,
            **({"layout": layout} if layout else {}),
            "weights_sha256": weights_sha256(model),
            "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
            "labels": labels_origin,
        },
    )


def _checkpoint(path: Path, name: str) -> tuple[Checkpoint, str]:
    """The checkpoint by timm's names, and the layout that it had."""
    import timm

    given = read_checkpoint(path)
    tensors, layout = to_timm(given.tensors, timm.create_model(name))
    return Checkpoint(tensors, given.origin), layout


def timm_model_key(plan: Plan) -> dict[str, object]:
    """Everything in `plan` that decides what `load_timm_model` gives, found without torch.

    Raises:
        SourceError: a file or module that the plan names does not exist.
    """
    if plan.checkpoint and not plan.checkpoint.is_file():
        raise CheckpointUnreadableError(f"there is no checkpoint {plan.checkpoint}")
    return {
        "model": plan.model,
        "num_classes": plan.num_classes,
        "pretrained": plan.pretrained,
        "checkpoint": sha256((plan.checkpoint,)) if plan.checkpoint else "",
        "labels": read_labels(plan.labels) if plan.labels else "",
        "register": [sha256((_module_file(module),)) for module in plan.register],
        "seed": SEED,
    }


def weights_sha256(model: "nn.Module") -> str:
    """The SHA-256 over the state dict in order of names: each name, type, shape and bytes.

    Not of a file, so that the same weights have the same sum wherever they came from.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _module_file(module: str) -> Path:
    _look_here()
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise RegistrationError(f"--register {module}: there is no such module on PYTHONPATH or in the current folder")
    return Path(spec.origin)


def _look_here() -> None:
    # A console script's sys.path starts at its own folder, not at the current one.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def _register(module: str) -> None:
    _look_here()
    try:
        importlib.import_module(module)
    except Exception as error:
        raise RegistrationError(
            f"--register {module} cannot be imported ({first_line(error)}); name a module on PYTHONPATH "
            "or in the current folder"
        ) from error


def _check_name(name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f"the closest are {', '.join(close)}" if close else "timm.list_models() names all"
        raise UnknownModelError(f"timm {timm.__version__} knows no model {architecture!r}; {hint}")
    tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", include_tags=True)]
    if tag and tag not in tags:
        raise UnknownModelError(
            f"timm knows {architecture}, but no tag {tag!r} of it; it has {', '.join(filter(None, tags))}"
        )


def _head_classes(checkpoint: Checkpoint, classifier: "str | Sequence[str] | None") -> int | None:
    """How many rows the checkpoint's classification head has, where timm says which layer that is."""
    for layer in (classifier,) if isinstance(classifier, str) else classifier or ():
        weight = checkpoint.tensors.get(f"{layer}.weight")
        if weight is not None:
            return int(weight.shape[0])
    return None


def _agree(claims: Sequence[tuple[str, int | None]]) -> int | None:
    """The number of classes on which all agree who name one."""
    named = [(who, count) for who, count in claims if count is not None]
    for who, count in named[1:]:
        first, expected = named[0]
        if count != expected:
            raise ClassesMismatchError(f"{first} says {expected} classes, {who} says {count}; make them agree")
    return named[0][1] if named else None


def _classifier(name: str, model: "nn.Module", classes: int) -> Classifier:
    from timm.data.config import resolve_model_data_config

    data: dict[str, Any] = resolve_model_data_config(model)
    channels, height, width = data["input_size"]
    if channels != 3 or len(data["mean"]) != 3 or len(data["std"]) != 3:
        raise UnsupportedModelError(f"{name} takes {channels} channels; entries take RGB pictures, 3 channels")
    try:
        crop_mode = CropMode(data["crop_mode"])
        interpolation = Interpolation(data["interpolation"])
        # timm.data.transforms_factory.transforms_imagenet_eval: crop mode border is filled with the mean colour.
        red, green, blue = (round(255 * level) if crop_mode is CropMode.BORDER else 0 for level in data["mean"])
        preprocessing = Preprocessing(
            height, width, float(data["crop_pct"]), crop_mode, interpolation, (red, green, blue)
        )
    except (ContractError, ValueError) as error:
        raise UnsupportedModelError(
            f"{name} takes its pictures in a way that entries cannot express: {error}"
        ) from error
    return Classifier(model, preprocessing, tuple(map(float, data["mean"])), tuple(map(float, data["std"])), classes)


def _check_answer(name: str, classifier: Classifier) -> None:
    import torch

    try:
        with torch.inference_mode():
            size = classifier.preprocessing
            answer = classifier.model(torch.zeros(1, 3, size.height, size.width))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UnsupportedModelError(f"{name} cannot be run on a picture of its own input size: {error}") from error
    shape = list(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    if shape != [1, classifier.classes]:
        raise UnsupportedModelError(
            f"{name} answers one picture with {shape}, not with [1, {classifier.classes}] logits"
        )
