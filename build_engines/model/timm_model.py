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
from typing import TYPE_CHECKING

from build_engines.errors import (
    CheckpointUnreadableError,
    ClassesMismatchError,
    RegistrationError,
    UnknownModelError,
    UnsupportedModelError,
    first_line,
)
from build_engines.model.checkpoint import Checkpoint, check_fit, read_checkpoint
from build_engines.model.creation import create_model
from build_engines.model.hub import pretrained
from build_engines.model.labels import known_labels, read_labels
from build_engines.model.layouts import to_timm
from build_engines.model.preprocessing import Given, classifier_of, words
from build_engines.plan import Plan
from build_engines.values import Classifier, sha256

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
    name = current_name(plan.model)
    cfg = timm.get_pretrained_cfg(name)
    labels = read_labels(plan.labels) if plan.labels else None
    own_classes = int(cfg.num_classes) if cfg else 0
    checkpoint, layout = _checkpoint(plan.checkpoint, name, plan.image_size) if plan.checkpoint else (None, "")
    claims = [("--num-classes", plan.num_classes), (str(plan.labels), len(labels) if labels else None)]
    if checkpoint:
        claims.append((checkpoint.origin, _head_classes(checkpoint, cfg.classifier if cfg else None)))
    elif plan.pretrained:
        claims.append((f"the pretrained head of {name}", own_classes))
    classes = _agree(claims) or own_classes
    if classes == 0:
        raise UnsupportedModelError(
            f"{plan.model} has no classification head of its own; give a --checkpoint that has one and its --labels"
        )
    labels_origin = plan.labels.name if plan.labels else ""
    if labels is None:
        labels, labels_origin = known_labels(classes, own_classes)
    if plan.pretrained and not checkpoint:
        model, weights = pretrained(name, plan.image_size), "pretrained, from timm"
    else:
        torch.manual_seed(SEED)
        model, weights = create_model(name, plan.image_size, num_classes=classes), f"random, seed {SEED}"
    if checkpoint:
        check_fit(checkpoint, model, name)
        model.load_state_dict(dict(checkpoint.tensors))
        weights = checkpoint.origin
    model = model.float().eval()
    classifier = classifier_of(name, model, classes, Given.by(plan))
    _check_answer(name, classifier)
    architecture, _, tag = name.partition(".")
    return TimmModel(
        classifier=classifier,
        labels=labels,
        provenance={
            "timm_name": architecture,
            "timm_tag": tag or (cfg.tag if cfg else None) or "none",
            **({"timm_deprecated": plan.model} if name != plan.model else {}),
            "weights": weights,
            **({"layout": layout} if layout else {}),
            "weights_sha256": weights_sha256(model),
            "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
            "labels": labels_origin,
            "pictures": words(classifier),
        },
    )


def _checkpoint(path: Path, name: str, image_size: int | None) -> tuple[Checkpoint, str]:
    """The checkpoint by timm's names, and the layout that it had."""
    given = read_checkpoint(path)
    tensors, layout = to_timm(given.tensors, create_model(name, image_size))
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
        "pictures": repr(Given.by(plan)),
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


def current_name(name: str) -> str:
    """The name by which timm knows the model today, where `name` is one that it gave up.

    Raises:
        UnknownModelError: timm knows no such model, or no such tag of it.
    """
    import timm
    from timm.models._registry import get_deprecated_models

    name = get_deprecated_models().get(name) or name
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
    return name


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


def _check_answer(name: str, classifier: Classifier) -> None:
    import torch

    size = classifier.preprocessing
    try:
        with torch.inference_mode():
            answer = classifier.model(torch.zeros(1, 3, size.height, size.width))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UnsupportedModelError(
            f"{name} cannot be run on a picture of {size.width} x {size.height}: {first_line(error)}; try another "
            "--image-size or model"
        ) from error
    shape = list(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    if shape != [1, classifier.classes]:
        raise UnsupportedModelError(
            f"{name} answers one picture with {shape}, not with [1, {classifier.classes}] logits"
        )
