"""The folder that a run ends in, which `build-engines build FOLDER` takes whole.

It is a folder of timm's own kind (config.json and model.safetensors), so that `timm.create_model("local-dir:FOLDER")`
reads it too, with what a build asks beside it in training.json and lists of the pictures to calibrate and judge by.
"""

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from training.dataset import Dataset, Split
from training.errors import ResumeError
from training.recipe import Recipe
from training.setup import SEEN, Setup

FACTS = "training.json"
LISTS = {"train": "train.csv", "evaluation": "evaluation.csv"}


def resumable(recipe: Recipe) -> dict[str, Any]:
    """What must be the same to go on: files may lie elsewhere, their content is compared."""
    elsewhere = ("checkpoint", "distill")
    kept: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return {name: value for name, value in kept.items() if name not in elsewhere}


def inputs(setup: Setup) -> dict[str, str]:
    """Sums of what a run is made from."""
    teacher = setup.teacher.sha256 if setup.teacher else ""
    return {"pictures": setup.data.sha256, "start": setup.start_sha256, "teacher": teacher}


def check_same(folder: Path, recipe: Mapping[str, Any], made_from: Mapping[str, str], setup: Setup) -> None:
    """Demand that a run in `folder`, of `recipe` and `made_from`, is that of `setup`.

    Raises:
        ResumeError: it is another.
    """
    now = resumable(setup.recipe)
    if differ := [name for name in now if recipe.get(name) != now[name]]:
        raise ResumeError(
            f"{folder} holds a run with another {differ[0]} ({recipe.get(differ[0])!r}, now {now[differ[0]]!r}); "
            "choose another --out, or give the same choices to go on with it"
        )
    for name, sha256 in inputs(setup).items():
        if made_from.get(name) != sha256:
            raise ResumeError(f"{folder} holds a run on another {name}; choose another --out")


def check_finished(folder: Path, setup: Setup) -> None:
    """Demand that a run which ended in `folder`, if there is one, is that of `setup`.

    Raises:
        ResumeError: it is another.
    """
    if (folder / FACTS).is_file():
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        check_same(folder, facts.get("recipe", {}), facts.get("inputs", {}), setup)


def write_model(setup: Setup, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write model.safetensors, config.json and labels.txt into `folder`, each whole or not at all."""
    beside = folder / "model.safetensors.tmp"
    save_file(dict(weights), beside, metadata={"format": "pt"})
    os.replace(beside, folder / "model.safetensors")
    _write(folder / "config.json", json.dumps(config(setup), indent=2) + "\n")
    _write(folder / "labels.txt", "".join(f"{name}\n" for name in setup.data.classes))


def config(setup: Setup) -> dict[str, Any]:
    """What timm's `save_for_hf` writes, by timm's names."""
    made, classifier = setup.start.architecture, setup.start.classifier
    size = classifier.preprocessing
    arguments = {key: value for key, value in made.arguments.items() if key != "drop_path_rate"}
    if made.image_size is not None and hasattr(classifier.model, "patch_embed"):
        arguments["img_size"] = made.image_size
    architecture, _, tag = made.name.partition(".")
    return {
        "architecture": architecture,
        "num_classes": classifier.classes,
        "model_args": arguments,
        "label_names": list(setup.data.classes),
        "pretrained_cfg": {
            "tag": tag,
            "num_classes": classifier.classes,
            "input_size": [3, size.height, size.width],
            "mean": list(classifier.mean),
            "std": list(classifier.std),
            "crop_pct": size.crop_pct,
            "crop_mode": size.crop_mode.value,
            "interpolation": size.interpolation.value,
            "custom_load": False,
        },
    }


def write_seen(data: Dataset, folder: Path) -> None:
    """Write seen.txt into `folder`, before the first step: an unfinished run has learnt from its pictures too."""
    _write(folder / SEEN, "".join(f"{file}\n" for file in sorted(data.known | set(data.train.files))))


def write_facts(setup: Setup, metrics: Mapping[str, Any], folder: Path) -> None:
    """Write training.json and the lists of pictures into `folder`."""
    data = setup.data
    notes = {"training.origin": setup.start.origin, "training.pictures": str(len(data.train))}
    if data.reported and "top1" in metrics:
        word, split = data.reported
        notes["accuracy.top1"] = f"{metrics['top1']:.2f}"
        notes["accuracy.dataset"] = f"{data.path.name} {word}, {len(split)} pictures"
    _list(data, data.train, folder / LISTS["train"])
    if data.reported:
        _list(data, data.reported[1], folder / LISTS["evaluation"])
    facts = {
        "register": list(setup.registered),
        "calibration": LISTS["train"],
        "evaluation": LISTS["evaluation"] if data.reported else None,
        "notes": notes,
        "metrics": dict(metrics),
        "findings": list(setup.found),
        "recipe": asdict(setup.recipe),
        "inputs": inputs(setup),
        "pictures": {
            "path": _relative(_root(data), folder),
            **{word: len(split) for word, split in data.splits.items()},
        },
        "versions": {name: version(name) for name in ("vitrine", "timm", "torch")},
    }
    _write(folder / FACTS, json.dumps(facts, indent=2) + "\n")


def _root(data: Dataset) -> Path:
    return data.path.parent if data.path.suffix.lower() == ".csv" else data.path


def _list(data: Dataset, split: Split, path: Path) -> None:
    root = _root(data).resolve()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label"))
        for name, target in zip(split.names, split.targets, strict=True):
            writer.writerow((_relative(root / name, path.parent), data.classes[target]))


def _relative(path: Path, folder: Path) -> str:
    """The way from `folder` to `path`. Links on the way to either are followed: `..` does not lead back over them."""
    return os.path.relpath(path.resolve(), folder.resolve())


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
