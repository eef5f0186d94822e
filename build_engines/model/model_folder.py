"""A folder that a library saved a model in: what it is, how it takes pictures, its classes, its weights."""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_engines.errors import (
    CheckpointMismatchError,
    CheckpointUnreadableError,
    LabelsMissingError,
    ProcessorMissingError,
    UnsupportedModelError,
)
from build_engines.model.architecture import Architecture, current_name
from build_engines.model.fit import compare, likely_cause
from build_engines.model.fitting import Fitted, head_classes, load
from build_engines.model.nesting import levels
from build_engines.model.processor import data_config
from build_engines.model.transformers_names import FAMILIES, side, to_timm
from build_engines.model.weight_files import read_json, read_weights, weight_files

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_LOADING = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
"""Arguments of timm's with which a folder would have other files loaded."""
_TIMM_DATA = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")


@dataclass(frozen=True)
class ModelFolder:
    """What a folder says."""

    fitted: Fitted
    data: Mapping[str, Any]
    """How the model takes pictures, as `timm.data` names it."""
    labels: tuple[str, ...] | None


def folder_files(folder: Path) -> tuple[Path, ...]:
    """The files that decide what a folder gives.

    Raises:
        CheckpointUnreadableError: it is not a folder of a model, or its weights are missing.
    """
    config = folder / CONFIG
    if not config.is_file():
        weight_files(folder)  # Its message says what the folder is, where that is known.
        raise CheckpointUnreadableError(
            f"{folder} has no {CONFIG}; give the file of weights itself, and timm's name of it"
        )
    settings = [folder / name for name in _PROCESSORS if (folder / name).is_file()]
    return (config, *settings, *weight_files(folder))


def read_folder(folder: Path) -> ModelFolder:
    """The model in `folder`, as transformers' `save_pretrained` or timm's `save_for_hf` wrote it.

    Raises:
        SourceError: it is of a family that is not known, it lacks something, or its parts contradict each other.
    """
    files = folder_files(folder)
    config = read_json(folder / CONFIG)
    tensors = read_weights(weight_files(folder))
    where = f"{folder.name}/{', '.join(file.name for file in files if file.suffix != '.json')}"
    if "architecture" in config:
        return _of_timm(config, tensors, where)
    return _of_transformers(folder, config, tensors, where)


def _of_timm(config: Mapping[str, Any], tensors: Mapping[str, "Tensor"], where: str) -> ModelFolder:
    """Timm's own: config.json has the name and the data configuration, the latter in older ones without a name."""
    cfg: Mapping[str, Any] = config.get("pretrained_cfg") or config
    arguments = dict(config.get("model_args") or {})
    if loading := sorted(arguments.keys() & _LOADING):
        raise UnsupportedModelError(f"{where}: model_args of {CONFIG} has {', '.join(loading)}; remove them")
    architecture = Architecture(current_name(str(config["architecture"])), arguments)
    bare = next((each for prefix, each in levels(tensors) if prefix == "timm_model."), tensors)
    fitted = _fitted(architecture, bare, tensors, where, "timm's own names, in a folder")
    names = cfg.get("label_names") or config.get("label_names") or cfg.get("labels")
    described = cfg.get("label_descriptions") or config.get("label_descriptions") or {}
    labels = tuple(str(described.get(name, name)) for name in names) if names else _labels(config)
    return ModelFolder(fitted, {key: cfg[key] for key in _TIMM_DATA if key in cfg}, labels)


def _of_transformers(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, "Tensor"], where: str
) -> ModelFolder:
    kind = config.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        raise UnsupportedModelError(
            f"{folder / CONFIG}: model_type is {kind!r}; transformers' image classifiers that are read are "
            f"{', '.join(FAMILIES)}. For another give timm's name and a file of weights by timm's names"
        )
    if int(config.get("num_channels", 3)) != 3:
        raise UnsupportedModelError(f"{folder / CONFIG}: num_channels is {config['num_channels']}; entries take RGB")
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise UnsupportedModelError(
            f"{folder / CONFIG}: problem_type is {config['problem_type']!r}; an entry answers one class of several, by "
            "a softmax, and the answers of that model do not exclude each other"
        )
    settings = _processor(folder)
    try:
        data, architecture = data_config(settings), family.architecture(config)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointUnreadableError(
            f"{folder}: a value in config.json or preprocessor_config.json is of the wrong kind ({error}); save both "
            "again"
        ) from error
    height, width = data["input_size"][1:]
    tensors_of_timm = to_timm(tensors, family, config)
    if family.fixed_size:
        sides = side(config, "image_size", 224)
        trained = sides if isinstance(sides, tuple) else (sides, sides)
        if trained != (height, width) and not family.resamples:
            raise CheckpointMismatchError(
                f"{folder}: config.json says pictures of {trained[0]}x{trained[1]}, preprocessor_config.json "
                f"{height}x{width}, for which the model has no positions. Make them agree"
            )
        if trained != (height, width):
            architecture = replace(architecture, arguments={**architecture.arguments, "img_size": (height, width)})
            tensors_of_timm = _resampled(tensors_of_timm, trained, (height, width), architecture)
    fitted = _fitted(architecture, tensors_of_timm, tensors, where, f"transformers' {kind}")
    return ModelFolder(fitted, data, _labels(config))


def _resampled(
    tensors: dict[str, "Tensor"], trained: tuple[int, int], size: tuple[int, int], architecture: Architecture
) -> dict[str, "Tensor"]:
    """The positions at another resolution, as transformers computes them anew for each picture.

    Source: `Dinov2Embeddings.interpolate_pos_encoding`, bicubic and without antialiasing.
    """
    import torch
    from torch.nn.functional import interpolate

    patch, positions = int(architecture.arguments["patch_size"]), tensors["encoder.pos_embed"].float()
    rows, columns = trained[0] // patch, trained[1] // patch
    grid = positions[:, 1:].reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
    new = (size[0] // patch, size[1] // patch)
    grid = interpolate(grid, size=new, mode="bicubic", align_corners=False).permute(0, 2, 3, 1).flatten(1, 2)
    return {**tensors, "encoder.pos_embed": torch.cat([positions[:, :1], grid], dim=1)}


def _processor(folder: Path) -> Mapping[str, Any]:
    for name in _PROCESSORS:
        if (folder / name).is_file():
            settings = read_json(folder / name)
            inner = settings.get("image_processor")
            return inner if isinstance(inner, dict) else settings
    raise ProcessorMissingError(
        f"{folder} has no {_PROCESSORS[0]}, which says how the model takes its pictures; save it there with "
        "processor.save_pretrained(folder)"
    )


def _fitted(
    architecture: Architecture,
    tensors: Mapping[str, "Tensor"],
    names: Mapping[str, "Tensor"],
    where: str,
    layout: str,
) -> Fitted:
    classes = head_classes(tensors, architecture.classifier)
    try:
        model = architecture.create(classes or 1)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedModelError(f"{where}: timm makes no model of {architecture.words} ({error})") from error
    fit = compare(tensors, model)
    if not fit.exact:
        cause = likely_cause(names if classes else {}, fit, where)
        said = f"{where} is not what config.json says: {fit.words(architecture.name)}"
        raise CheckpointMismatchError(f"{said}. Probably {cause}" if cause else said)
    return load(model, tensors, Fitted(model, architecture, where, layout, classes))


def _labels(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """`id2label` by index.

    Raises:
        LabelsMissingError: its indices are not 0, 1, 2, ...
    """
    named = config.get("id2label")
    if not isinstance(named, dict) or not named:
        return None
    try:
        by_index = {int(index): str(label) for index, label in named.items()}
        return tuple(by_index[index] for index in range(len(by_index)))
    except (ValueError, KeyError):
        raise LabelsMissingError(
            f"config.json: the keys of id2label must be 0, 1, 2, ...; they are {', '.join(list(named)[:5])}. Give "
            "--labels"
        ) from None
