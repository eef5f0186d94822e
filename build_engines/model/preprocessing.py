"""How a model takes its pictures: as timm says, but for what the user knows better."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from build_engines.errors import UnsupportedModelError
from build_engines.plan import Plan
from build_engines.values import Classifier
from contract.spec import ContractError, CropMode, Interpolation, Preprocessing

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Given:
    """What is said of the preprocessing besides timm's configuration; None where nothing is."""

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    interpolation: Interpolation | None = None
    crop_mode: CropMode | None = None

    @classmethod
    def by(cls, plan: Plan) -> "Given":
        """What the user says."""
        return cls(**{each.name: getattr(plan, each.name) for each in dataclasses.fields(cls)})

    def over(self, other: "Given") -> "Given":
        """This, and what `other` says where this says nothing."""
        said = ((each.name, getattr(self, each.name)) for each in dataclasses.fields(self))
        return dataclasses.replace(other, **{name: value for name, value in said if value is not None})


def classifier_of(
    name: str, model: "nn.Module", classes: int, given: Given, said: Mapping[str, Any] | None = None
) -> Classifier:
    """The model with its preprocessing: timm's configuration, over it what the checkpoint `said`, and what is `given`.

    Raises:
        UnsupportedModelError: it does not take RGB pictures, or takes them in a way that entries cannot express.
    """
    from timm.data.config import resolve_model_data_config

    data: dict[str, Any] = {**resolve_model_data_config(model), **(said or {})}
    channels, height, width = data["input_size"]
    if given.image_size is not None:
        height = width = given.image_size
    mean = given.mean or tuple(map(float, data["mean"]))
    std = given.std or tuple(map(float, data["std"]))
    if channels != 3 or len(mean) != 3 or len(std) != 3:
        raise UnsupportedModelError(f"{name} takes {channels} channels; entries take RGB pictures, 3 channels")
    try:
        crop_mode = given.crop_mode or CropMode(data["crop_mode"])
        interpolation = given.interpolation or Interpolation(data["interpolation"])
        crop_pct = float(data["crop_pct"]) if given.crop_pct is None else given.crop_pct
        # timm.data.transforms_factory.transforms_imagenet_eval: crop mode border is filled with the mean colour.
        red, green, blue = (round(255 * level) if crop_mode is CropMode.BORDER else 0 for level in mean)
        preprocessing = Preprocessing(height, width, crop_pct, crop_mode, interpolation, (red, green, blue))
    except (ContractError, ValueError) as error:
        raise UnsupportedModelError(
            f"{name} takes its pictures in a way that entries cannot express: {error}"
        ) from error
    return Classifier(model, preprocessing, mean, std, classes)


def words(classifier: Classifier) -> str:
    """One line about how pictures are prepared, for people."""
    size = classifier.preprocessing
    mean, std = (", ".join(f"{level:.4g}" for level in levels) for levels in (classifier.mean, classifier.std))
    return (
        f"{size.width} x {size.height}, {size.crop_mode.value}, crop_pct {size.crop_pct:.4g}, "
        f"{size.interpolation.value}, mean {mean}, std {std}"
    )
