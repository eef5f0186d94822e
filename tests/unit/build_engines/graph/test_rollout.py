"""The rollout of a graph is that of the paper, for each kind of Vision Transformer, and others are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch

from build_engines.errors import ParityError, RolloutUndefinedError
from build_engines.graph import export_rollout, measure_rollout, open_graph
from build_engines.graph.rollout import handed_on, rollout_module
from build_engines.model import attentive, torch_answers
from build_engines.pictures import made_pictures
from build_engines.values import Attentive, Classifier
from contract.config import ATTENTION, OUTPUT, ROLLOUT
from contract.spec import Preprocessing
from tests.unit.build_engines.architectures import MirrorAveraged

Array = npt.NDArray[np.float64]

SMALL = {"img_size": 32, "depth": 3, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
Kind = tuple[str, dict[str, Any]]
CLASS: Kind = ("vit_tiny_patch16_224", {"patch_size": 8})
DISTILLED: Kind = ("deit_tiny_distilled_patch16_224", {"patch_size": 8})
REGISTERS: Kind = ("vit_tiny_patch16_224", {"patch_size": 8, "reg_tokens": 4})
AVERAGED: Kind = ("vit_medium_patch16_gap_256", {"patch_size": 8})
REGISTERS_AVERAGED: Kind = ("vit_wee_patch16_reg1_gap_256", {"patch_size": 8})
ALL_AVERAGED: Kind = ("vit_tiny_patch16_224", {"patch_size": 8, "global_pool": "avg", "pool_include_prefix": True})
KINDS: dict[str, tuple[Kind, Callable[[Array], Array]]] = {
    "class token": (CLASS, lambda rows: rows[0, 1:]),
    "distilled": (DISTILLED, lambda rows: (rows[0, 2:] + rows[1, 2:]) / 2),
    "registers": (REGISTERS, lambda rows: rows[0, 5:]),
    "averaged": (AVERAGED, lambda rows: rows.mean(0)),
    "registers, averaged": (REGISTERS_AVERAGED, lambda rows: rows[1:, 1:].mean(0)),
    "all averaged": (ALL_AVERAGED, lambda rows: rows[:, 1:].mean(0)),
}
"""Each kind, and what its head reads of `[tokens, tokens]`, as a row for each patch."""


def classifier_of(name: str, **changes: Any) -> Classifier:
    torch.manual_seed(1)
    model = timm.create_model(name, **{**SMALL, **changes}).eval()
    for parameter in model.parameters():  # As it comes, attention is nearly the same everywhere.
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return Classifier(model, Preprocessing(32, 32, 1.0), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 5)


def attention_of(classifier: Classifier, images: npt.NDArray[np.uint8]) -> list[Array]:
    """Of each layer, `[batch, heads, tokens, tokens]`: from the weights, by the formula."""
    model: Any = classifier.model
    mean, std = (torch.tensor(levels).view(1, 3, 1, 1) for levels in (classifier.mean, classifier.std))
    found = []
    with torch.inference_mode():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
        x = model.norm_pre(model._pos_embed(model.patch_embed(x)))
        for block in model.blocks:
            attention = block.attn
            batch, tokens, _ = x.shape
            qkv = attention.qkv(block.norm1(x)).reshape(batch, tokens, 3, attention.num_heads, -1)
            query, key = (
                attention.q_norm(qkv[:, :, 0].transpose(1, 2)),
                attention.k_norm(qkv[:, :, 1].transpose(1, 2)),
            )
            scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
            found.append(torch.softmax(scores, -1).double().numpy())
            x = block(x)
    return found


def plain(layers: list[Array], read: Callable[[Array], Array], discard: float) -> tuple[Array, Array]:
    """The paper's rollout for mean, max and min, and what is read of each head: a loop for each step."""
    batch, heads, tokens, _ = layers[0].shape
    rollouts, looked = [], []
    for picture in range(batch):
        for fuse in (np.mean, np.max, np.min):
            product = np.eye(tokens)
            for layer in layers:
                matrix = fuse(layer[picture], axis=0)
                count = int(discard * tokens * tokens)
                if count:
                    matrix = np.where(matrix <= np.sort(matrix, axis=None)[count - 1], 0, matrix)
                handed = 0.5 * matrix + 0.5 * np.eye(tokens)
                product = (handed / handed.sum(axis=1, keepdims=True)) @ product
            rollouts.append(read(product))
        looked += [read(layer[picture, head]) for layer in layers for head in range(heads)]
    return np.reshape(rollouts, (batch, 3, 4, 4)), np.reshape(looked, (batch, len(layers), heads, 4, 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discard", [0.0, 0.7])
def test_the_rollout_is_that_of_a_plain_loop(kind: str, discard: float) -> None:
    (name, changes), read = KINDS[kind]
    classifier = classifier_of(name, **changes)
    images = made_pictures(3, classifier.preprocessing)
    module = rollout_module(attentive(name, classifier), discard)
    with torch.inference_mode():
        probabilities, *maps = (each.numpy() for each in module(torch.from_numpy(images)))
    for found, wanted in zip(maps, plain(attention_of(classifier, images), read, discard), strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= (1e-3 if discard else 1e-5)
    assert np.abs(probabilities - torch_answers(classifier, images)).max() <= 1e-5
    assert maps[0].std() > 1e-3, "a map that is flat would prove nothing"


@pytest.mark.parametrize("kind", ["class token", "distilled", "registers", "averaged"])
def test_so_is_that_of_the_graph_at_any_batch(kind: str, tmp_path: Path) -> None:
    (name, changes), read = KINDS[kind]
    classifier = classifier_of(name, **changes)
    source = attentive(name, classifier)
    graph = export_rollout(source, 0.0, tmp_path)
    session = open_graph(graph.path)
    for count in (1, 2, 5):
        images = made_pictures(count, classifier.preprocessing)
        probabilities, *maps = session.outputs(images, OUTPUT, ROLLOUT, ATTENTION)
        for found, wanted in zip(maps, plain(attention_of(classifier, images), read, 0.0), strict=True):
            assert np.abs(found - wanted).max() <= 1e-5
        own = torch_answers(classifier, images)
        assert np.abs(probabilities - own).max() <= 1e-5
        assert (probabilities.argmax(1) == own.argmax(1)).all()
    measured, furthest = measure_rollout(graph, source, 0.0, [images], lambda pixels: torch_answers(classifier, pixels))
    assert measured.max_abs_diff <= 1e-5
    assert 0 < furthest <= 1e-5


def test_a_graph_with_another_rollout_is_refused(tmp_path: Path) -> None:
    source = attentive("vit", classifier_of(CLASS[0], **CLASS[1]))
    graph = export_rollout(source, 0.9, tmp_path)
    with pytest.raises(ParityError, match="the rollout of the graph differs from torch's"):
        measure_rollout(graph, source, 0.0, [made_pictures(2, source.preprocessing)])


def test_what_a_layer_hands_on_sums_to_one() -> None:
    attention = torch.rand(2, 3, 9, 9)
    for discard in (0.0, 0.5, 0.99):
        handed = handed_on(attention, discard)
        assert torch.allclose(handed.sum(-1), torch.ones(2, 3, 9))
        kept = (handed * (1 - torch.eye(9)) > 0).sum((-1, -2))
        assert (kept <= round((1 - discard) * 81)).all()


def test_the_model_itself_stays_as_it_was() -> None:
    classifier = classifier_of(CLASS[0], **CLASS[1])
    images = made_pictures(2, classifier.preprocessing)
    before = torch_answers(classifier, images)
    attentive("vit", classifier)
    assert all(block.attn.fused_attn for block in classifier.model.blocks)  # type: ignore[union-attr]
    assert np.array_equal(torch_answers(classifier, images), before)


def test_of_several_views_one_is_explained() -> None:
    classifier = classifier_of(CLASS[0], **CLASS[1])
    plain_source = attentive("vit", classifier)
    assert plain_source.view == ""
    classifier.model.__class__ = MirrorAveraged
    source = attentive("vit", classifier)
    assert source.view == "tests.unit.build_engines.architectures.MirrorAveraged.forward"
    images = torch.from_numpy(made_pictures(2, source.preprocessing))
    with torch.inference_mode():
        for mine, other in zip(rollout_module(source, 0)(images), rollout_module(plain_source, 0)(images), strict=True):
            assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("resnet18", {}, "it is a ResNet"),
        ("swin_tiny_patch4_window7_224", {}, "it is a SwinTransformer"),
        ("cait_xxs24_224", {}, "it is a Cait"),
        ("vit_base_patch16_siglip_224", {"depth": 1}, "an attention of its own"),
        ("vit_tiny_patch16_224", {"depth": 1, "global_pool": "max"}, "pools by 'max'"),
        ("vit_small_patch16_18x2_224", {"depth": 2}, "its 2 blocks show 4 attention matrices"),
        ("vit_dlittle_patch16_reg1_gap_256", {"depth": 1}, "of another kind"),
    ],
)
def test_what_has_no_rollout_is_refused_with_the_reason(name: str, changes: dict[str, Any], why: str) -> None:
    model: Any = timm.create_model(name, num_classes=5, **changes).eval()
    size = model.pretrained_cfg["input_size"][1]
    classifier = Classifier(model, Preprocessing(size, size, 1.0), (0.5,) * 3, (0.5,) * 3, 5)
    with pytest.raises(RolloutUndefinedError, match=why) as caught:
        attentive(name, classifier)
    assert f"not defined for {name}" in str(caught.value)
    assert "without --explain" in str(caught.value)


def test_the_readout_is_a_share_of_each_token() -> None:
    for (name, changes), _ in KINDS.values():
        source: Attentive = attentive(name, classifier_of(name, **changes))
        assert sum(source.readout) == pytest.approx(1)
        assert (source.layers, source.heads, source.rows, source.columns) == (3, 3, 4, 4)
