"""A timm model at the input size that is wanted."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from build_engines.errors import UnsupportedModelError, first_line

if TYPE_CHECKING:
    from torch import nn


def create_model(name: str, image_size: int | None = None, **choices: Any) -> "nn.Module":
    """`timm.create_model`, for pictures of `image_size` where that is given.

    A model that takes any size is left as it is. One of a fixed size is made for another where its architecture can be;
    its pretrained weights are then resampled as timm does.

    Raises:
        UnsupportedModelError: the architecture cannot be made for this size; the message names sizes near it that fit.
    """
    import timm

    model: nn.Module
    if image_size is None:
        model = timm.create_model(name, **choices)
        return model
    try:
        model = timm.create_model(name, img_size=image_size, **choices)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(name, **choices)  # A convolutional network: it takes any size.
    except (ValueError, AssertionError, RuntimeError, IndexError) as error:
        raise UnsupportedModelError(
            f"{name} cannot be made for pictures of {image_size} x {image_size} ({first_line(error)}); leave out "
            "--image-size, or name a model of that size"
        ) from error
    _check_patches(name, model, image_size)
    return model


def _check_patches(name: str, model: "nn.Module", image_size: int) -> None:
    """Demand that patches cover the picture: timm's would leave out its last rows and columns, without a word."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    edge = patch[0] if isinstance(patch, Sequence) else patch
    if isinstance(edge, int) and image_size % edge:
        below = image_size - image_size % edge
        raise UnsupportedModelError(
            f"{name} cuts a picture into patches of {edge} x {edge}, and {image_size} is no multiple of {edge}; "
            f"--image-size {below or below + edge} and {below + edge} are the nearest"
        )
