"""Files of weights are read as tensors, nothing in them is run, and what is no checkpoint is named as what it is."""

import argparse
import collections
import datetime
import io
import json
import os
import pathlib
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from build_engines.errors import BuildError, CheckpointUnreadableError, CheckpointUnsafeError
from build_engines.model.weight_files import read_file, read_weights, weight_files

WEIGHTS = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


class Settings(dict[str, object]):
    """As yacs, easydict and Lightning have one of their own."""


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def tarred(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("model/data.pkl", "model/constants.pkl", "model/code/__torch__.py"):
            archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["w.safetensors", "weights", "pytorch_model.pth"])
def test_safetensors_are_read_whatever_they_are_called(name: str, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / name)
    found = read_file(tmp_path / name)
    assert isinstance(found, dict)
    assert found.keys() == WEIGHTS.keys()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "beside",
    [
        np.float64(0.9),
        np.array([1, 2]),
        np.random.default_rng(0).integers(0, 9, 2),
        argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("out")),
        {"started": datetime.datetime(2026, 1, 1), "took": datetime.timedelta(1)},
        collections.defaultdict(list, loss=[1.0]),
        {1, 2},
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_harmless_things_lie_beside_the_tensors(beside: object, new: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "extra": beside}, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    found = read_file(tmp_path / "w.pth")
    assert isinstance(found, dict)
    assert torch.equal(found["state_dict"]["head.weight"], WEIGHTS["head.weight"])


@pytest.mark.parametrize("name", ["yacs.config.CfgNode", "lightning.fabric.utilities.data.AttributeDict"])
def test_settings_of_libraries_that_are_not_installed_lie_beside_them(name: str, tmp_path: Path) -> None:
    module, _, kind = name.rpartition(".")
    data = saved({"state_dict": WEIGHTS, "config": Settings(lr=0.1)})
    theirs = io.BytesIO()
    # The pickle of a class of ours, renamed: those libraries write the same.
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(theirs, "w") as new:
        for member in old.namelist():
            ours = f"c{Settings.__module__}\n{Settings.__name__}\n".encode()
            new.writestr(member, old.read(member).replace(ours, f"c{module}\n{kind}\n".encode()))
    (tmp_path / "w.pth").write_bytes(theirs.getvalue())
    found = read_file(tmp_path / "w.pth")
    assert isinstance(found, dict)
    assert found["state_dict"].keys() == WEIGHTS.keys()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_payload_is_refused_named_and_never_run(tmp_path: Path, new: bool) -> None:
    canary = tmp_path / "canary"
    torch.save(
        {"state_dict": WEIGHTS, "extra": Payload(canary)}, tmp_path / "w.pth", _use_new_zipfile_serialization=new
    )
    with pytest.raises(CheckpointUnsafeError, match=r"posix.* nothing of it was run.*safetensors"):
        read_file(tmp_path / "w.pth")
    assert not canary.exists()


def test_a_payload_among_the_harmless_things_is_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(a=Payload(canary))}, tmp_path / "w.pth")
    with pytest.raises(CheckpointUnsafeError):
        read_file(tmp_path / "w.pth")
    assert not canary.exists()


def test_a_payload_named_safetensors_is_refused_and_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save(Payload(canary), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointUnreadableError, match="safetensors file"):
        read_file(tmp_path / "w.safetensors")
    assert not canary.exists()


def test_a_whole_model_in_a_pickle_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2), tmp_path / "w.pth")
    with pytest.raises(CheckpointUnsafeError, match=r"whole model in a pickle.*nn\.modules.*model\.state_dict\(\)"):
        read_file(tmp_path / "w.pth")


@pytest.mark.parametrize(("protocol", "code"), [(2, "checkpoint_unreadable"), (5, "checkpoint_unsafe")])
def test_a_pickle_of_another_kind_is_refused_with_the_way_out(protocol: int, code: str, tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"w": [1.0, 2.0]}, protocol=protocol))
    with pytest.raises(BuildError, match=r"w\.pkl") as caught:
        read_file(tmp_path / "w.pkl")
    assert caught.value.code == code


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 22900000\n"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("w.safetensors", LFS, "Git LFS pointer.*git lfs pull"),
        ("w.bin", LFS, "Git LFS pointer"),
        ("w.pth", b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        ("w.pth", b"\r\n<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
        ("w.safetensors", b'{"error": "Repository not found"}', "JSON file"),
        ("w.pth", b"Entry not found", "error message of a model hub"),
        ("w.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5 file, as Keras writes"),
        ("w.pt", scripted(), "TorchScript archive.*state_dict"),
        ("w.onnx", b"\x08\x0a\x12\x07pytorch" + bytes(64), "ONNX graph"),
        ("w.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(64), "TensorFlow Lite"),
        ("w.keras", zipped("metadata.json", "config.json", "model.weights.h5"), "Keras archive"),
        ("w.npz", zipped("Transformer/encoder_norm/bias.npy"), "NumPy archive.*JAX"),
        ("w.gguf", b"GGUF" + bytes(64), "GGUF file"),
        ("w.zip", zipped("w.pth", "readme.txt"), "zip around a checkpoint.*unpack it"),
        ("w.zip", zipped("readme.txt"), "zip of something else"),
        ("w.pth.tar", tarred("w.pth"), "tar archive.*tar -xf"),
        ("w.tar.gz", b"\x1f\x8b\x08" + bytes(64), "gzip file.*unpack"),
        ("w.pth", b"", "empty file"),
        ("w.pth", saved(WEIGHTS)[:600], "ends early.*again"),
        ("w.pth", b"not a checkpoint", "w.pth"),
        (
            "w.safetensors",
            struct.pack("<Q", 80) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}',
            "safetensors",
        ),
        ("w.safetensors", b"\xff" * 100, "not a whole safetensors file"),
        ("model.safetensors.index.json", b'{"weight_map": {}}', "index of shards; give the folder"),
        ("w.pth", b"\xff\xd8\xff\xe0" + bytes(64), "JPEG picture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_checkpoint_is_named_with_the_way_out(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((CheckpointUnreadableError, CheckpointUnsafeError), match=f"{name}.*{message}|{message}"):
        read_file(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadableError, match="there is no checkpoint"):
        read_file(tmp_path / "w.pth")


def sharded(folder: Path, suffix: str, write: Callable[[dict[str, torch.Tensor], Path], object]) -> None:
    """A folder of two shards."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    names = [f"{stem}-0000{number}-of-00002{suffix}" for number in (1, 2)]
    for name, key in zip(names, WEIGHTS, strict=True):
        write({key: WEIGHTS[key]}, folder / name)
    index = {"metadata": {}, "weight_map": dict(zip(WEIGHTS, names, strict=True))}
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(("suffix", "write"), [(".safetensors", save_file), (".bin", torch.save)])
def test_shards_are_read_together(suffix: str, write: Callable[..., object], tmp_path: Path) -> None:
    sharded(tmp_path, suffix, write)
    assert read_weights(weight_files(tmp_path)).keys() == WEIGHTS.keys()
    next(tmp_path.glob("*00002-of-00002*")).unlink()
    with pytest.raises(CheckpointUnreadableError, match=r"00002-of-00002.*not in the folder.*all 2 shards"):
        weight_files(tmp_path)


def test_an_index_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "secret.safetensors")
    (tmp_path / "model").mkdir()
    index = {"weight_map": {"head.weight": "../secret.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointUnreadableError, match="not in the folder"):
        weight_files(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adapter_model.safetensors", "PEFT adapter.*merge_and_unload"),
        ("tf_model.h5", "TensorFlow weights.*from_tf"),
        ("flax_model.msgpack", "Flax weights.*from_flax"),
        ("model.onnx", "ONNX graph"),
        ("optimizer.pt", "holds no model.safetensors or pytorch_model.bin, but optimizer.pt"),
        ("model.fp16.safetensors", "but model.fp16.safetensors"),
    ],
)
def test_a_folder_without_weights_says_what_it_has(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointUnreadableError, match=message):
        weight_files(tmp_path)
