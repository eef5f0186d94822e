"""The tensors of a file or of a folder of shards, by what the files are called and begin with."""

# ruff: noqa: PLC0415 (torch takes seconds to import; `build-engines --help` does not wait for it)

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build_engines.errors import CheckpointUnreadableError
from build_engines.model.file_kinds import foreign_kind
from build_engines.model.pickles import read_pickle

if TYPE_CHECKING:
    from torch import Tensor

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_ADAPTER = "a LoRA or another PEFT adapter: merge it (model.merge_and_unload()) and save the result"
_OTHERS = {
    "adapter_model.safetensors": _ADAPTER,
    "adapter_model.bin": _ADAPTER,
    "tf_model.h5": "TensorFlow weights: load them with from_tf=True and save them with save_pretrained",
    "flax_model.msgpack": "Flax weights: load them with from_flax=True and save them with save_pretrained",
    "model.onnx": "an ONNX graph: give the folder of the model that it was exported from",
    "model_index.json": "a diffusers pipeline, which is no classifier",
}


def read_file(path: Path) -> object:
    """What is in `path`: safetensors by the suffix, otherwise what `torch.save` wrote.

    Raises:
        CheckpointUnreadableError: there is no such file, it is something else, or it is broken.
        CheckpointUnsafeError: it is a pickle that asks for more than tensors; nothing of it was run.
    """
    if not path.is_file():
        raise CheckpointUnreadableError(f"there is no checkpoint {path}")
    if path.name.endswith(".index.json"):
        raise CheckpointUnreadableError(f"{path} is the index of shards; give the folder that it lies in")
    if kind := foreign_kind(path):
        words, fix = kind
        raise CheckpointUnreadableError(f"{path} is {words}; {fix}")
    return _read_safetensors(path) if _is_safetensors(path) else read_pickle(path)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The index, if there is one, and the files of weights of a folder that `save_pretrained` wrote.

    Raises:
        CheckpointUnreadableError: it has none that can be read, or a shard is missing.
    """
    for name in (*_WHOLE[:1], *_SHARDED[:1], *_WHOLE[1:], *_SHARDED[1:]):
        path = folder / name
        if path.is_file():
            return (path,) if name in _WHOLE else (path, *_shards(path))
    for name, words in _OTHERS.items():
        if (folder / name).is_file():
            raise CheckpointUnreadableError(f"{folder} holds {name}, {words}")
    there = ", ".join(sorted(each.name for each in folder.iterdir())[:8]) or "nothing"
    raise CheckpointUnreadableError(
        f"{folder} holds no {' or '.join(_WHOLE)}, but {there}; save the model there with save_pretrained"
    )


def read_weights(files: tuple[Path, ...]) -> dict[str, "Tensor"]:
    """The tensors of all of `weight_files`.

    Raises:
        CheckpointUnreadableError: one of them is broken, or holds something else.
        CheckpointUnsafeError: one is a pickle that asks for more than tensors; nothing of it was run.
    """
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        if file.name.endswith(".index.json"):
            continue
        content = read_file(file)
        if not isinstance(content, Mapping) or not all(isinstance(each, torch.Tensor) for each in content.values()):
            raise CheckpointUnreadableError(f"{file} holds no state dict; save the model again with save_pretrained")
        tensors |= content
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CheckpointUnreadableError: it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CheckpointUnreadableError(f"{path} is not a JSON file ({error}); copy or save it again") from error
    if not isinstance(content, dict):
        raise CheckpointUnreadableError(f"{path} holds no JSON object; copy or save it again")
    return content


def _shards(index: Path) -> tuple[Path, ...]:
    names = sorted({str(name) for name in read_json(index).get("weight_map", {}).values()})
    if not names:
        raise CheckpointUnreadableError(f"{index} names no shards; save the model again with save_pretrained")
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise CheckpointUnreadableError(
                f"{index} names the shard {name!r}, which is not in the folder; "
                f"download or copy all {len(names)} shards"
            )
    return tuple(index.parent / name for name in names)


def _is_safetensors(path: Path) -> bool:
    """By the suffix, or by the length of a JSON header in front: some give them other names."""
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or (
        head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    )


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointUnreadableError(
            f"{path} is not a whole safetensors file ({error}); copy or download it again"
        ) from error
