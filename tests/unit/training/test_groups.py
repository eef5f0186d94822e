"""Layer-wise decay: each parameter in one group, the learning rate that its depth says, and decay only on matrices."""

import pytest
import timm
import torch

import training.networks  # noqa: F401  (registers ours)
from training.errors import RecipeError
from training.fit import show_groups
from training.groups import check, depths, freeze, groups, hold_still, make_optimizer

MODELS = {
    "vit_tiny_patch16_224": 14,
    "deit_tiny_distilled_patch16_224": 14,
    "swin_tiny_patch4_window7_224": 14,
    "mobilevit_xxs": 12,
    "resnet18": 10,
    "tf_efficientnet_lite0": 18,
    "convnext_atto": 14,
    "vit_nano_convstem_patch4_32": 6,
    "resnet9_32": 5,
}
"""And how many depths: the stem, the blocks and the head."""
KEPT_WHOLE = ("pos_embed", "cls_token", "dist_token", "relative_position_bias_table", "gamma", "norm")
"""Words of parameters that weight decay would pull to nothing."""


@pytest.mark.parametrize(("name", "count"), MODELS.items())
def test_each_parameter_is_in_one_group_by_its_depth(name: str, count: int) -> None:
    model = timm.create_model(name, num_classes=7)
    found = groups(model, make_optimizer(model, 0.1, 0.05, 0.5))
    names = [each for group in found for each in group.names]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    layers = depths(model)
    top = max(layers.values())
    assert {group.depth for group in found} == set(range(count))
    for group in found:
        assert {top - layers[each] for each in group.names} == {group.depth}
        assert group.scale == pytest.approx(0.5**group.depth)


@pytest.mark.parametrize("name", MODELS)
def test_biases_norms_and_embeddings_are_not_decayed_and_matrices_are(name: str) -> None:
    model = timm.create_model(name, num_classes=7)
    for group in groups(model, make_optimizer(model, 0.1, 0.05, 0.5)):
        for each in group.names:
            vector = model.get_parameter(each).ndim < 2
            spared = vector or any(word in each.split(".")[-1] for word in KEPT_WHOLE)
            assert group.weight_decay == (0.0 if spared else 0.05), each


@pytest.mark.parametrize(
    ("name", "stem", "early", "late", "head"),
    [
        ("vit_tiny_patch16_224", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.11.mlp.fc2.weight", "head.weight"),
        ("deit_tiny_distilled_patch16_224", "dist_token", "blocks.0.norm1.bias", "norm.weight", "head_dist.weight"),
        (
            "swin_tiny_patch4_window7_224",
            "patch_embed.proj.weight",
            "layers.0.blocks.0.attn.qkv.weight",
            "layers.3.blocks.1.mlp.fc2.weight",
            "head.fc.weight",
        ),
        (
            "mobilevit_xxs",
            "stem.conv.weight",
            "stages.0.0.conv1_1x1.conv.weight",
            "final_conv.conv.weight",
            "head.fc.weight",
        ),
        ("resnet18", "conv1.weight", "layer1.0.conv1.weight", "layer4.1.conv2.weight", "fc.weight"),
    ],
)
def test_the_stem_is_deepest_and_the_head_has_the_whole_rate(
    name: str, stem: str, early: str, late: str, head: str
) -> None:
    layers = depths(timm.create_model(name))
    top = max(layers.values())
    assert [layers[each] for each in (stem, early, late, head)] == [0, 1, top - 1, top]


def test_without_layer_decay_all_have_one_rate() -> None:
    model = timm.create_model("resnet9_32")
    found = groups(model, make_optimizer(model, 0.1, 0.05, 1.0))
    assert {group.scale for group in found} == {1.0}


def test_a_parameter_in_no_group_is_noticed() -> None:
    model = timm.create_model("resnet9_32")
    with pytest.raises(RecipeError, match=r"fc\.bias is in 0 parameter groups"):
        check(model, torch.optim.AdamW([each for name, each in model.named_parameters() if name != "fc.bias"]))


def test_freezing_keeps_the_stem_the_first_blocks_and_their_statistics() -> None:
    model = timm.create_model("resnet9_32", drop_path_rate=0.0)
    frozen = freeze(model, 1)
    assert {name.split(".")[0] for name in frozen} == {"stem", "stages"}
    assert not any(name.startswith(("stages.1", "stages.2", "fc")) for name in frozen)
    make_optimizer(model, 0.1, 0.05, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    hold_still(model, frozen)
    model(torch.randn(4, 3, 32, 32))
    for name, value in model.state_dict().items():
        counted = ("running" in name or "tracked" in name) and not name.startswith(("stem", "stages.0"))
        assert torch.equal(before[name], value) != counted, name
    with pytest.raises(RecipeError, match="the model has 3 blocks"):
        freeze(model, 4)


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show_groups("vit_nano_convstem_patch4_32", 0.5, 0.05, print)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["depth", "lr", "x", "decay", "tensors", "parameters", "first"]
    assert lines[1].split()[:3] == ["0", "1.00000", "0.05"]
    assert lines[-1].split()[:3] == ["5", "0.03125", "0"]
