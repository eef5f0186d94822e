"""What timm itself reads: names of its older versions, and the files that the authors of a model published.

Each of its modules has a `checkpoint_filter_fn` for that. It also resamples positions to the model's resolution and
drops what it does not need, which must not happen unasked.
"""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_POSITIONS = ("pos_embed", "relative_position_bias_table", "patch_embed.proj.weight")
_CHANGES_ANSWERS = ("pre_logits", "visual.")
"""In names: a layer that timm leaves out though it counts, and a CLIP whose projection it takes for a classifier."""


def converted(
    tensors: Mapping[str, "Tensor"], model: "nn.Module", name: str, *, resample: bool
) -> dict[str, "Tensor"] | None:
    """The tensors as the module of timm's `name` converts them for `model`; None where it cannot.

    Positions of another resolution stay as they are, so that they do not fit, unless `resample` allows it.
    """
    convert = _filter(model, name)
    if convert is None or any(word in key for key in tensors for word in _CHANGES_ANSWERS):
        return None
    given = dict(tensors)
    try:
        with _quiet():
            found: dict[str, Tensor] = convert(dict(tensors), model)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return None  # It was written for other tensors than these.
    if not resample:
        moved = {key for key, each in found.items() if key.endswith(_POSITIONS) and key in given}
        found |= {key: given[key] for key in moved if not _is_part(found[key], given[key])}
    return found


def _filter(model: "nn.Module", name: str) -> Callable[[dict[str, "Tensor"], "nn.Module"], dict[str, "Tensor"]] | None:
    import timm

    modules = (timm.model_entrypoint(name).__module__, type(model).__module__)
    found = (getattr(sys.modules.get(module), "checkpoint_filter_fn", None) for module in modules)
    convert: Callable[..., dict[str, Tensor]] | None = next(filter(None, found), None)
    if convert is not None and "adapt_layer_scale" in inspect.signature(convert).parameters:
        # The names of DeiT III; timm sets this for its own deit models.
        return lambda tensors, model: convert(tensors, model, adapt_layer_scale=True)
    return convert


def _is_part(found: "Tensor", given: "Tensor") -> bool:
    """Whether `found` has the values of `given`, all of them or without the tokens in front."""
    import torch

    if found.numel() == given.numel():
        return torch.equal(found.reshape(-1), given.reshape(-1))
    return found.ndim == given.ndim == 3 and torch.equal(found, given[:, given.shape[1] - found.shape[1] :])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what timm logs and warns of while it converts: what came of it is said in our words."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
