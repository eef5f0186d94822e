"""Checkpoints are read in every usual form, and nothing in them is run."""

import argparse
import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from build_engines.errors import CheckpointMismatchError, CheckpointUnreadableError, CheckpointUnsafeError
from build_engines.model.checkpoint import Checkpoint, check_fit, read_checkpoint

WEIGHTS = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}
AVERAGED = {"head.weight": torch.full((2, 3), 7.0), "head.bias": torch.zeros(2)}


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    checkpoint = read_checkpoint(tmp_path / "w.safetensors")
    assert checkpoint.origin == "w.safetensors"
    assert checkpoint.tensors.keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("content", "origin", "first"),
    [
        (WEIGHTS, "w.pth", 1.0),
        ({"model": WEIGHTS, "epoch": 3}, "w.pth[model]", 1.0),
        ({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=0.1)}, "w.pth[state_dict]", 1.0),
        ({"state_dict": WEIGHTS, "state_dict_ema": AVERAGED}, "w.pth[state_dict_ema]", 7.0),
        ({"state_dict": {f"module.{key}": value for key, value in WEIGHTS.items()}}, "w.pth[state_dict]", 1.0),
        ({f"_orig_mod.module.{key}": value for key, value in WEIGHTS.items()}, "w.pth", 1.0),
    ],
)
def test_the_state_dict_is_found(tmp_path: Path, content: object, origin: str, first: float) -> None:
    torch.save(content, tmp_path / "w.pth")
    checkpoint = read_checkpoint(tmp_path / "w.pth")
    assert checkpoint.origin == origin
    assert checkpoint.tensors.keys() == WEIGHTS.keys()
    assert checkpoint.tensors["head.weight"][0, 0] == first


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_payload_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    canary = tmp_path / "canary"
    torch.save(
        {"state_dict": WEIGHTS, "extra": Payload(canary)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(CheckpointUnsafeError, match=r"nothing of it was run.*safetensors"):
        read_checkpoint(tmp_path / "w.pth")
    assert not canary.exists()


def test_a_payload_named_safetensors_is_refused_and_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save(Payload(canary), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointUnreadableError, match="safetensors file"):
        read_checkpoint(tmp_path / "w.safetensors")
    assert not canary.exists()


def test_broken_files_are_refused(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:600])
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 100)
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "a zip of something else")
    for name in ("half.pth", "text.pt", "empty.pt", "w.safetensors", "other.pt"):
        with pytest.raises((CheckpointUnreadableError, CheckpointUnsafeError), match=name):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("content", [WEIGHTS["head.bias"], {}, {"epoch": 3}, {"model": {"a": WEIGHTS}}, [1, 2]])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointUnreadableError, match="no state dict"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadableError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "w.pth")


def test_another_architectures_checkpoint_is_refused_and_both_sides_named() -> None:
    tensors = {"head.weight": torch.ones(5, 3), "stem.weight": torch.ones(1)}
    model = nn.Sequential()
    model.add_module("head", nn.Linear(3, 2))
    with pytest.raises(CheckpointMismatchError) as caught:
        check_fit(Checkpoint(tensors, "w.pth"), model, "resnet50")
    message = str(caught.value)
    assert "resnet50 needs head.bias, which the checkpoint lacks" in message
    assert "the checkpoint has stem.weight, which resnet50 does not know" in message
    assert "head.weight ([2, 3] in the model, [5, 3] in the file)" in message
