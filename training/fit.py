"""`vitrine-train fit` and `vitrine-train groups`: what joins the parts of a training."""

from collections.abc import Callable
from pathlib import Path

import timm
import torch

from build_engines.plan import default_cache
from training import report, run_folder
from training.answering import Normalise, answers
from training.errors import RecipeError, ResumeError
from training.groups import group_lines, groups, make_optimizer
from training.head import fit_head
from training.recipe import Recipe
from training.run import CHECKPOINT, Record, Run
from training.setup import Setup, set_up

Say = Callable[[str], None]


def fit(recipe: Recipe, data: Path, folder: Path, *, tensorboard: bool, say: Say) -> None:
    """Train by `recipe` on the pictures at `data`; `folder` becomes what `build-engines build` takes.

    Raises:
        TrainingError: the recipe, the pictures or the folder cannot be used.
        BuildError: the model, its checkpoint or the teacher cannot be used.
    """
    setup = set_up(recipe, data, say)
    for line in described(setup):
        say(line)
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.check_finished(folder, setup)
    if setup.recipe.head_only:
        if (folder / CHECKPOINT).is_file():
            raise ResumeError(f"{folder} holds a training; choose another --out")
        if tensorboard:
            say("--tensorboard writes nothing: a head has no epochs")
        run_folder.write_seen(setup.data, folder)
        head = fit_head(setup, default_cache(), say)
        say(_finish(setup, setup.start.classifier.model.state_dict(), [], folder) + f", penalty {head.penalty:g}")
        return
    run = Run(setup, folder, say)
    run_folder.write_seen(setup.data, folder)
    if run.history:
        say(f"{folder} is gone on with after epoch {len(run.history)}")
    board = _board(folder) if tensorboard else None

    def done(record: Record) -> None:
        run_folder.write_model(setup, run.result, folder)
        if board:
            board(record)

    run.train(done)
    say(_finish(setup, run.result, run.history, folder))


def _finish(setup: Setup, weights: dict[str, torch.Tensor], history: list[Record], folder: Path) -> str:
    """Judge the weights on what is reported, write the folder's files, and say what came out."""
    classifier, data = setup.start.classifier, setup.data
    weights = {name: value.cpu().contiguous() for name, value in weights.items()}
    classifier.model.load_state_dict(weights)
    judged = None
    if data.reported:
        word, split = data.reported
        normalise = Normalise(classifier.mean, classifier.std).to(setup.device)
        logits = answers(classifier.model, split.images, normalise, setup.device)
        judged = report.Judged(word, split, logits, data.classes)
    metrics = {"epochs": len(history), **(judged.metrics if judged else {})}
    run_folder.write_model(setup, weights, folder)
    run_folder.write_facts(setup, metrics, folder)
    report.write(folder, history, judged, [*described(setup), *setup.found])
    hints = "".join(f"{hint}\n" for hint in metrics.get("hints", ()))
    top1 = f"{metrics['split']}: top-1 {metrics['top1']:.2f} % of {metrics['pictures']} pictures; " if judged else ""
    return f"{hints}{top1}{folder} is ready for build-engines build {folder}"


def described(setup: Setup) -> list[str]:
    """What is trained on what, in lines for people."""
    recipe, data, start = setup.recipe, setup.data, setup.start
    splits = ", ".join(f"{len(split)} in {word}" for word, split in data.splits.items())
    lines = [
        f"{start.architecture.name}, weights: {start.origin}",
        f"{len(data.classes)} classes; pictures: {splits}",
    ]
    if recipe.head_only:
        return [*lines, "a linear head on the features of weights that stay as they are"]
    kept = f", the stem and {recipe.freeze} blocks kept" if recipe.freeze else ""
    decay = f", {recipe.layer_decay:g} of it a layer further from the head" if _layered(recipe) else ""
    lines.append(f"{recipe.epochs} epochs, learning rate {recipe.learning_rate:g}{decay}{kept}")
    if recipe.distill:
        teachers = ", ".join(recipe.distill)
        lines.append(f"{recipe.distill_kind} distillation from {teachers}, weight {recipe.distill_weight:g}")
    return lines


def _layered(recipe: Recipe) -> bool:
    return recipe.layer_decay is not None and recipe.layer_decay < 1


def _board(folder: Path) -> Callable[[Record], None]:
    """What writes records for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise RecipeError("--tensorboard needs the extra: pip install 'vitrine[tensorboard]'") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(record: Record) -> None:
        for name in record.keys() - {"epoch"}:
            writer.add_scalar(name, record[name], record["epoch"])
        writer.flush()

    return write


def show_groups(model: str, layer_decay: float, weight_decay: float, say: Say) -> None:
    """Print the parameter groups of timm's `model`."""
    made = timm.create_model(model, pretrained=False)
    optimizer = make_optimizer(made, 1.0, weight_decay, layer_decay)
    for line in group_lines(groups(made, optimizer)):
        say(line)
