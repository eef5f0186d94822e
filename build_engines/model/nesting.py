"""The networks in a file: training scripts put the weights under a key, beside other things, or under a prefix."""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from build_engines.errors import CheckpointKeyError, CheckpointUnreadableError

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
AVERAGES = {"state_dict_ema": "state_dict", "model_ema": "model", "ema_state_dict": "state_dict"}
"""Averaged weights, and what they are an average of. timm evaluates the average (`timm.models.load_state_dict`)."""
_WRAPPERS = re.compile(
    r"^((module|_orig_mod|_forward_module|_fsdp_wrapped_module)\.)+"
    r"|\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What DataParallel, torch.compile, FSDP and DeepSpeed put into names."""
_COUNTERS = ("n_averaged",)
"""What `torch.optim.swa_utils.AveragedModel` keeps beside the weights."""
_DEPTH = 4


def networks(content: object, origin: str) -> dict[str, Tensors]:
    """Each mapping of tensors in `content` by its key, the keys of nested ones joined with dots; the whole is "".

    Raises:
        CheckpointUnreadableError: there is none; the message says what there is.
    """
    found = dict(_mappings(content, "", _DEPTH))
    if not found:
        raise CheckpointUnreadableError(f"{origin} holds no state dict: {_instead(content)}")
    return found


def chosen(content: object, key: str, origin: str) -> Tensors:
    """The tensors under `key`: a key of the file, keys of nested mappings with dots between, or a prefix of names.

    Raises:
        CheckpointKeyError: there is none; the message lists what there is.
    """
    found = networks(content, origin)
    if key in found:
        return found[key]
    for outer, tensors in found.items():
        prefix = f"{key}." if not outer else f"{key.removeprefix(outer + '.')}."
        if (not outer or key.startswith(f"{outer}.")) and any(name.startswith(prefix) for name in tensors):
            return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
    raise CheckpointKeyError(f"{origin} has nothing under {key!r}; --checkpoint-key takes {listed(found)}")


def listed(found: Mapping[str, Tensors]) -> str:
    """The keys in words, the largest network first."""
    parts = {key: tensors for key, tensors in found.items() if key}
    for outer, tensors in found.items():
        parts |= {f"{outer}.{prefix}".lstrip("."): each for prefix, each in groups(tensors).items()}
    return counted(parts) or "no key: the file is one state dict"


def counted(parts: Mapping[str, Tensors]) -> str:
    """The keys and the sizes of some networks, the largest first."""
    rows = sorted(parts.items(), key=lambda row: -len(row[1]))[:8]
    return ", ".join(f"{key} ({len(each)} tensors)" for key, each in rows)


def groups(tensors: Tensors) -> dict[str, Tensors]:
    """The parts of a mapping whose names begin with the same word, where there are several words."""
    by_word: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        word, dot, rest = name.partition(".")
        if dot and not word.isdecimal():
            by_word[word][rest] = tensor
    return {word: each for word, each in by_word.items() if _has_weights(each)} if len(by_word) < 12 else {}


def levels(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    """The mapping as it is, and without each prefix in turn that all its names share."""
    prefix = ""
    yield prefix, tensors
    while len({name.partition(".")[0] for name in tensors}) == 1 and all("." in name for name in tensors):
        word = next(iter(tensors)).partition(".")[0]
        prefix = f"{prefix}{word}."
        tensors = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        yield prefix, tensors


def _mappings(content: object, key: str, depth: int) -> Iterator[tuple[str, Tensors]]:
    import torch

    if not isinstance(content, Mapping) or "param_groups" in content or depth == 0:
        return
    given = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor) and name not in _COUNTERS
    }
    tensors = {_WRAPPERS.sub("", name): value for name, value in given.items()}
    if len(tensors) < len(given):  # A wrapped and a bare network beside each other.
        tensors = given
    if _has_weights(tensors):
        yield key, tensors
    for name, value in content.items():
        if isinstance(name, str):
            yield from _mappings(value, f"{key}.{name}".lstrip("."), depth - 1)


def _has_weights(tensors: Tensors) -> bool:
    """Whether there is a matrix: lone vectors are states of generators and counters."""
    return any(tensor.ndim > 1 for tensor in tensors.values())


def _instead(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"it is a {type(content).__name__}; save model.state_dict()"
    if "param_groups" in content or ("state" in content and len(content) <= 2):
        return "it is the state of an optimizer; give the file with the model's weights"
    if not content:
        return "it is an empty dict; save model.state_dict()"
    kinds = ", ".join(f"{key!r} ({type(value).__name__})" for key, value in list(content.items())[:6])
    return f"it has {kinds}, and no mapping of names to weights; save model.state_dict()"
