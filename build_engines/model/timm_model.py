"""From a timm name to everything that a graph is made of: the model, how it takes its pictures, and its labels.

Knows no ONNX and no repository.
"""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from build_engines.errors import RegistrationError, UnsupportedModelError, first_line
from build_engines.model.architecture import SEED, current_name
from build_engines.model.labels import known_labels, read_labels
from build_engines.model.preprocessing import Given, classifier_of, words
from build_engines.model.weights import checkpoint_files, load_weights
from build_engines.plan import Plan
from build_engines.values import Classifier, sha256

if TYPE_CHECKING:
    from torch import nn


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

    for module in plan.register:
        register(module)
    labels = read_labels(plan.labels) if plan.labels else None
    weights = load_weights(plan, len(labels) if labels else None)
    cfg = timm.get_pretrained_cfg(weights.name)
    labels_origin = plan.labels.name if plan.labels else ""
    if labels is None and weights.labels is not None:
        labels, labels_origin = weights.labels, f"{weights.origin}, its own"
    if labels is None:
        labels, labels_origin = known_labels(weights.classes, int(cfg.num_classes) if cfg else 0)
    model = weights.model.float().eval()
    classifier = classifier_of(plan.source, model, weights.classes, Given.by(plan), weights.data)
    _check_answer(plan.source, classifier)
    architecture, _, tag = weights.name.partition(".")
    return TimmModel(
        classifier=classifier,
        labels=labels,
        provenance={
            "timm_name": architecture,
            "timm_tag": tag or (cfg.tag if cfg and not weights.arguments else None) or "none",
            **({"timm_arguments": weights.arguments} if weights.arguments else {}),
            **({"timm_deprecated": plan.model} if plan.model and current_name(plan.model) != plan.model else {}),
            "weights": weights.origin,
            **({"layout": weights.layout} if weights.layout else {}),
            "weights_sha256": weights_sha256(model),
            "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
            "labels": labels_origin,
            "pictures": words(classifier),
        },
    )


def timm_model_key(plan: Plan) -> dict[str, object]:
    """Everything in `plan` that decides what `load_timm_model` gives, found without torch.

    Raises:
        SourceError: a file or module that the plan names does not exist.
    """
    return {
        "model": plan.model,
        "num_classes": plan.num_classes,
        "pictures": repr(Given.by(plan)),
        "pretrained": plan.pretrained,
        "checkpoint": [
            (file.parent.name if plan.checkpoint.is_dir() else "", file.name, sha256((file,)))
            for file in checkpoint_files(plan.checkpoint)
        ]
        if plan.checkpoint
        else "",
        "checkpoint_key": plan.checkpoint_key,
        "labels": read_labels(plan.labels) if plan.labels else "",
        "register": [sha256(_sources(module)) for module in plan.register],
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


def _sources(module: str) -> tuple[Path, ...]:
    """The files that decide what a module registers: its package's, or its own and those beside it that it imports."""
    file = _module_file(module)
    package = importlib.util.find_spec(module.partition(".")[0])
    if package is not None and package.submodule_search_locations:
        return tuple(sorted(each for at in package.submodule_search_locations for each in Path(at).rglob("*.py")))
    found: set[Path] = set()
    waiting = {file}
    try:
        while waiting:
            reached = waiting.pop()
            found.add(reached)
            waiting |= _imported_beside(reached) - found
    except SyntaxError:
        pass  # Importing it will say so.
    return tuple(sorted(found))


def _imported_beside(file: Path) -> set[Path]:
    """The modules in the folder of `file` that it imports by name, and all of the packages there."""
    if "site-packages" in file.parts:
        return set()  # What lies there has a version, and torch is among it.
    imports: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports.add(node.module)
    beside: set[Path] = set()
    for name in {each.partition(".")[0] for each in imports}:
        beside.update((file.parent / name).rglob("*.py"))
        beside.update(file.parent.glob(f"{name}.py"))
    return beside


def _look_here() -> None:
    # A console script's sys.path starts at its own folder, not at the current one.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def register(module: str) -> None:
    """Import a module that registers architectures with timm.

    Raises:
        RegistrationError: it cannot be imported.
    """
    _look_here()
    try:
        importlib.import_module(module)
    except Exception as error:
        raise RegistrationError(
            f"--register {module} cannot be imported ({first_line(error)}); name a module on PYTHONPATH "
            "or in the current folder"
        ) from error


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
