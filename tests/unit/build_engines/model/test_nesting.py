"""The networks in a file are found under any key and prefix."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from build_engines.errors import CheckpointKeyError, CheckpointUnreadableError
from build_engines.model.nesting import chosen, groups, levels, networks

W = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (W, [""]),
        ({"model": W, "epoch": 3, "optimizer": OPTIMIZER}, ["model"]),
        ({"model_state_dict": W, "optimizer_state_dict": {}, "loss": 0.1}, ["model_state_dict"]),
        ({"net": W, "acc": 93.1}, ["net"]),
        ({"ckpt": {"run": {"weights": W}}}, ["ckpt.run.weights"]),
        ({"student": W, "teacher": W, "dino_loss": {"center": torch.ones(8)}}, ["student", "teacher"]),
        ({"state_dict": W, "rng_state": torch.ones(9, dtype=torch.uint8)}, ["state_dict"]),
        ({"state_dict": {**W, "version": 2}}, ["state_dict"]),
    ],
)
def test_each_mapping_of_tensors_is_found(content: object, keys: list[str]) -> None:
    found = networks(content, "w.pth")
    assert list(found) == keys
    assert all(each.keys() == W.keys() for each in found.values())


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "_fsdp_wrapped_module."]
)
def test_wrappers_are_taken_off(prefix: str) -> None:
    assert networks({f"{prefix}{name}": each for name, each in W.items()}, "w.pth")[""].keys() == W.keys()


def test_wrappers_in_the_middle_of_names_are_taken_off() -> None:
    assert list(networks({"blocks.0._orig_mod.weight": torch.ones(2, 2)}, "w.pth")[""]) == ["blocks.0.weight"]


def test_a_wrapped_and_a_bare_network_beside_each_other_keep_their_names() -> None:
    both = {**W, **{f"module.{name}": each for name, each in W.items()}}
    assert networks(both, "w.pth")[""].keys() == both.keys()


def test_an_average_is_without_its_counter() -> None:
    average = AveragedModel(nn.Linear(3, 2))
    assert list(networks(average.state_dict(), "w.pth")[""]) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (torch.ones(2), "it is a Tensor"),
        ([1, 2], "it is a list"),
        ({}, "an empty dict"),
        ({"epoch": 3}, r"'epoch' \(int\)"),
        (OPTIMIZER, "state of an optimizer"),
        ({"optimizer": OPTIMIZER, "epoch": 3}, r"'optimizer' \(dict\)"),
    ],
)
def test_a_file_without_a_network_says_what_it_has(content: object, says: str) -> None:
    with pytest.raises(CheckpointUnreadableError, match=f"holds no state dict.*{says}"):
        networks(content, "w.pth")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"a": W, "b": {}}, "a"),
        ({"a": {"b": W}}, "a.b"),
        ({f"net.{name}": each for name, each in W.items()}, "net"),
        ({"state_dict": {f"net.{name}": each for name, each in W.items()}}, "state_dict.net"),
        ({"state_dict": {f"a.b.{name}": each for name, each in W.items()}}, "state_dict.a.b"),
    ],
)
def test_a_key_or_a_prefix_chooses(content: object, key: str) -> None:
    assert chosen(content, key, "w.pth").keys() == W.keys()


def test_a_key_that_is_not_there_is_refused_with_those_that_are() -> None:
    content = {"student": W, "teacher": {f"net.{name}": each for name, each in W.items()}}
    with pytest.raises(CheckpointKeyError, match=r"nothing under 'ema'.*student \(2 tensors\), teacher \(2 tensors\)"):
        chosen(content, "ema", "w.pth")


def test_levels_take_off_one_shared_prefix_after_the_other() -> None:
    named = {f"encoder.vit.{name}": each for name, each in W.items()}
    assert [prefix for prefix, _ in levels(named)] == ["", "encoder.", "encoder.vit.", "encoder.vit.head."]


def test_groups_are_the_parts_with_weights() -> None:
    named = {
        **{f"model.{name}": each for name, each in W.items()},
        "criterion.weight": torch.ones(2),
        "scale": W["head.bias"],
    }
    assert {word: list(part) for word, part in groups(named).items()} == {"model": list(W)}
