"""A checkpoint file as a state dict, without running anything that the file asks to run."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import argparse
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from build_engines.errors import CheckpointMismatchError, CheckpointUnreadableError, CheckpointUnsafeError, first_line

if TYPE_CHECKING:
    import torch

_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts put the state dict, the averaged weights first: they are what timm evaluates."""
_PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""
_SHOWN = 3


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file."""

    tensors: Mapping[str, "torch.Tensor"]
    origin: str
    """The file's name, and the key in it where there was one."""


def read_checkpoint(path: Path) -> Checkpoint:
    """The state dict in `path`: safetensors by its suffix, otherwise what `torch.save` wrote.

    Raises:
        CheckpointUnreadableError: there is no such file, it is broken, or it holds no state dict.
        CheckpointUnsafeError: it is a pickle that asks for more than tensors; nothing of it was run.
    """
    if not path.is_file():
        raise CheckpointUnreadableError(f"there is no checkpoint {path}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    origin = path.name
    if isinstance(content, Mapping):
        for key in _WRAPPED:
            if isinstance(content.get(key), Mapping):
                content, origin = content[key], f"{path.name}[{key}]"
                break
    return Checkpoint(_tensors(content, origin), origin)


def check_fit(checkpoint: Checkpoint, model: "torch.nn.Module", name: str) -> None:
    """Demand the very names and shapes of `model`, which is timm's `name`.

    Raises:
        CheckpointMismatchError: they differ; the message names both sides.
    """
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    problems = []
    if missing := [key for key in wanted if key not in given]:
        problems.append(f"{name} needs {_few(missing)}, which the checkpoint lacks")
    if unexpected := [key for key in given if key not in wanted]:
        problems.append(f"the checkpoint has {_few(unexpected)}, which {name} does not know")
    if shapes := [key for key in wanted if key in given and wanted[key] != given[key]]:
        details = [f"{key} ({list(wanted[key])} in the model, {list(given[key])} in the file)" for key in shapes]
        problems.append(f"shapes differ: {_few(details)}")
    if problems:
        raise CheckpointMismatchError(f"{checkpoint.origin} is not a checkpoint of {name}: {'; '.join(problems)}")


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointUnreadableError(f"{path} is not a whole safetensors file ({error})") from error


def _read_pickle(path: Path) -> object:
    import torch

    try:
        # timm's training script keeps its arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointUnsafeError(
            f"{path} is a pickle that asks for more than tensors, or is broken; nothing of it was run. Save the state "
            "dict alone, best with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointUnreadableError(
            f"{path} is not a whole checkpoint of torch.save ({first_line(error)})"
        ) from error


def _tensors(content: object, origin: str) -> dict[str, "torch.Tensor"]:
    import torch

    if not isinstance(content, Mapping) or not content:
        raise CheckpointUnreadableError(f"{origin} holds no state dict, but a {type(content).__name__}")
    tensors = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointUnreadableError(
                f"{origin} holds no state dict: {key!r} is a {type(value).__name__}. A state dict maps names to "
                f"tensors, at the top or under one of {', '.join(_WRAPPED)}"
            )
        name = key
        while name.startswith(_PREFIXES):
            name = name.partition(".")[2]
        tensors[name] = value
    return tensors


def _few(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
