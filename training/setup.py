"""From a recipe and a folder of pictures to all that a training needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch

import training.networks  # noqa: F401  (registers ours with timm)
from build_engines.model import Start, current_name, register, starting_model, weights_sha256
from build_engines.plan import Plan
from build_engines.trained_folder import completed
from contract.spec import CropMode, Preprocessing
from training.dataset import Dataset, Holding, Shelf, look, read
from training.distillation import Teacher, Teachers
from training.findings import findings
from training.recipe import Recipe

SEEN = "seen.txt"
"""In a run's folder: the SHA-256 of each file that its weights have learnt from, and those that it started from."""
_OURS = "training.networks"


@dataclass(frozen=True)
class Setup:
    """What `fit` works on."""

    recipe: Recipe
    """Without a None."""
    data: Dataset
    start: Start
    teacher: Teachers | None
    device: torch.device
    registered: tuple[str, ...]
    """Modules that must be imported for timm to know the model."""
    found: tuple[str, ...]
    """What to know of the pictures, a line each."""
    start_sha256: str
    """Of the weights before the first step."""


def set_up(recipe: Recipe, path: Path, say: Callable[[str], None]) -> Setup:
    """Read the pictures at `path` and make the model.

    Raises:
        TrainingError: the recipe or the pictures cannot be used.
        BuildError: the model, its checkpoint or the teacher cannot be used.
    """
    shelf = look(path)
    plan, trained = _plan(recipe)
    recipe = recipe.settled(shelf.training_pictures, trained=trained)
    start = starting_model(plan, shelf.classes, recipe.seed, drop_path_rate=recipe.drop_path)
    served = start.classifier.preprocessing
    recipe = recipe.for_size(max(served.height, served.width))
    teachers = [Teacher(Path(folder), shelf.classes, plan.register) for folder in recipe.distill]
    teacher = Teachers(teachers, len(shelf.classes)) if teachers else None
    data = _read(shelf, recipe, served)
    found = tuple(findings(data, max(served.height, served.width)))
    for line in found:
        say(line)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sha256 = weights_sha256(start.classifier.model)
    return Setup(recipe, data, start, teacher, device, _registered(start, plan), found, sha256)


def _plan(recipe: Recipe) -> tuple[Plan, bool]:
    """What the builder's reader of models is asked for, and whether that has trained weights."""
    folder = Path(recipe.checkpoint)
    needed = completed({"model": recipe.checkpoint}, folder).get("register", ())  # By another run of ours.
    modules = tuple(dict.fromkeys((_OURS, *recipe.register, *needed)))
    for module in modules:
        register(module)
    pretrained = recipe.pretrained
    if pretrained and not recipe.checkpoint:
        cfg = timm.get_pretrained_cfg(current_name(recipe.model))
        pretrained = bool(cfg and cfg.has_weights)
    plan = Plan(
        model=recipe.model,
        checkpoint=folder if recipe.checkpoint else None,
        checkpoint_key=recipe.checkpoint_key,
        pretrained=pretrained,
        image_size=recipe.image_size,
        crop_pct=recipe.crop_pct,
        register=modules,
    )
    return plan, bool(recipe.checkpoint) or pretrained


def _read(shelf: Shelf, recipe: Recipe, served: Preprocessing) -> Dataset:
    training = served
    if recipe.min_crop is not None and recipe.min_crop < 1 and not recipe.head_only:
        height, width = (int(side / min(1.0, served.crop_pct)) for side in (served.height, served.width))
        training = replace(served, height=height, width=width, crop_pct=1.0, crop_mode=CropMode.CENTER, fill=(0, 0, 0))
    share = recipe.hold_out
    if share is None and recipe.patience and "val" not in shelf.members:
        share = 0.1 if "test" in shelf.members else None
    return read(shelf, served, training, Holding(share, recipe.seed, _learnt_from(recipe.checkpoint)))


def _learnt_from(checkpoint: str) -> frozenset[str]:
    """SHA-256 of the files that a checkpoint of ours, a run's folder or a file in it, has learnt from; else empty."""
    path = Path(checkpoint)
    seen = (path if path.is_dir() else path.parent) / SEEN
    return frozenset(seen.read_text(encoding="utf-8").split()) if checkpoint and seen.is_file() else frozenset()


def _registered(start: Start, plan: Plan) -> tuple[str, ...]:
    """Those modules of the plan that the model is from, or that the user named."""
    home = timm.model_entrypoint(start.architecture.name.partition(".")[0]).__module__
    return tuple(module for module in plan.register if module != _OURS or home.startswith("training."))
