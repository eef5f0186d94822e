"""Weights by the names of efficientnet_pytorch become timm's, in TensorFlow's padding only."""

from pathlib import Path

import pytest
import timm
import torch

from build_engines.errors import CheckpointMismatchError
from build_engines.model import load_timm_model
from build_engines.plan import Plan

NAMES = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
EXPANDED = ("_expand_conv", "_bn0", *NAMES)


def in_that_layout(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a timm EfficientNet as efficientnet_pytorch 0.7.1 writes them: by their order in its modules."""
    layers = ["_conv_stem", "_bn0"]
    blocks = [block for stage in model.get_submodule("blocks").children() for block in stage.children()]
    for number, block in enumerate(blocks):
        names = list(EXPANDED if hasattr(block, "conv_pwl") else NAMES)
        if not isinstance(block.se, torch.nn.Identity):
            names[-2:-2] = ["_se_reduce", "_se_expand"]
        layers += [f"_blocks.{number}.{name}" for name in names]
    layers += ["_conv_head", "_bn1", "_fc"]
    theirs: dict[str, torch.Tensor] = {}
    last = ""
    for name, tensor in model.state_dict().items():
        layer, _, rest = name.rpartition(".")
        if layer != last:
            current, last = layers.pop(0), layer
        theirs[f"{current}.{rest}"] = tensor
    assert not layers
    return theirs


def scrambled(name: str, classes: int) -> torch.nn.Module:
    """A model no two of whose tensors are alike."""
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=classes).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) * 0.1 + 0.05)
    return model


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_b0"])
def test_each_tensor_finds_its_place(name: str, tmp_path: Path) -> None:
    model = scrambled(name, 5)
    theirs = in_that_layout(model)
    assert len(theirs) == len(model.state_dict())
    torch.save(theirs, tmp_path / "w.pth")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    loaded = load_timm_model(Plan(name, checkpoint=tmp_path / "w.pth", labels=tmp_path / "labels.txt"))
    for key, tensor in loaded.classifier.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key]), key
    assert loaded.provenance["layout"] == "the names of efficientnet_pytorch"


def test_a_model_with_other_padding_is_refused_and_the_right_one_named(tmp_path: Path) -> None:
    torch.save(in_that_layout(scrambled("tf_efficientnet_lite0", 1000)), tmp_path / "w.pth")
    with pytest.raises(CheckpointMismatchError, match="tf_efficientnet_lite0: name that one"):
        load_timm_model(Plan("efficientnet_lite0", checkpoint=tmp_path / "w.pth"))


def test_blocks_that_the_model_lacks_keep_their_names(tmp_path: Path) -> None:
    torch.save(in_that_layout(scrambled("tf_efficientnet_b1", 1000)), tmp_path / "w.pth")
    with pytest.raises(CheckpointMismatchError, match=r"_blocks\.16\._\w+\.\w+"):
        load_timm_model(Plan("tf_efficientnet_b0", checkpoint=tmp_path / "w.pth"))
