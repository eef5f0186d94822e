"""What is loaded fits exactly, and what does not fit is named on both sides with its likely cause."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from build_engines.errors import (
    BuildError,
    CheckpointKeyError,
    CheckpointMismatchError,
    CheckpointUnreadableError,
    ClassesMismatchError,
)
from build_engines.model import TimmModel, load_timm_model
from build_engines.plan import Plan
from tests.unit.build_engines.origins import LABELS, REGISTER, by_transformers, older_swin, saved, tiny

State = dict[str, torch.Tensor]


def plan(folder: Path, content: object, model: str = "tiny_vit", **choices: Any) -> Plan:
    labels = folder / "labels.txt"
    labels.write_text("\n".join(LABELS))
    given = {"labels": labels, "register": (REGISTER,), **choices}
    return Plan(model, folder, checkpoint=saved(folder, content), **given)


def loaded(folder: Path, content: object, model: str = "tiny_vit", **choices: Any) -> TimmModel:
    return load_timm_model(plan(folder, content, model, **choices))


@pytest.fixture(scope="module")
def state() -> State:
    return tiny("tiny_vit").state_dict()


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


NESTED: dict[str, tuple[Callable[[State], object], str]] = {
    "tutorial": (
        lambda w: {"epoch": 3, "model_state_dict": w, "optimizer_state_dict": {}, "loss": 0.1},
        "w.pth[model_state_dict]",
    ),
    "net": (lambda w: {"net": w, "acc": 93.1}, "w.pth[net]"),
    "backbone": (lambda w: {"state_dict": prefixed("backbone.", w)}, "w.pth[state_dict.backbone]"),
    "encoder.model": (lambda w: prefixed("encoder.model.", w), "w.pth[encoder.model]"),
    "loss beside": (
        lambda w: {"state_dict": {**prefixed("net.", w), "loss.w": torch.ones(2, 2)}},
        "w.pth[state_dict.net]",
    ),
    "average": (
        lambda w: {"state_dict": {k: v + 1 for k, v in w.items()}, "state_dict_ema": w},
        "w.pth[state_dict_ema]",
    ),
    "the same twice": (lambda w: {"model": w, "best": dict(w)}, "w.pth[model]"),
    "another network": (
        lambda w: {"generator": {"conv.weight": torch.ones(3, 3)}, "classifier": w},
        "w.pth[classifier]",
    ),
}


@pytest.mark.parametrize("kind", NESTED)
def test_the_network_that_fits_is_found(kind: str, state: State, tmp_path: Path) -> None:
    wrap, origin = NESTED[kind]
    found = loaded(tmp_path, wrap(state))
    assert found.provenance["weights"] == origin
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.classifier.model.state_dict().items())


def test_several_that_fit_are_not_guessed_between(state: State, tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in state.items()}
    content = {"student": state, "teacher": other}
    with pytest.raises(CheckpointKeyError, match=r"student \(\d+ tensors\), teacher \(\d+ tensors\); choose one with"):
        loaded(tmp_path, content)
    found = loaded(tmp_path, content, checkpoint_key="teacher")
    assert torch.equal(found.classifier.model.get_parameter("head.bias"), other["head.bias"])
    assert found.provenance["weights"] == "w.pth[teacher]"


def changed(state: State, **more: torch.Tensor) -> State:
    return {**state, **{name.replace("__", "."): tensor for name, tensor in more.items()}}


def without(state: State, *starts: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(starts)}


HEAD = ("head.", "norm.")
WRONG: dict[str, tuple[Callable[[State], object], str]] = {
    "encoder": (lambda w: without(w, "head."), "needs head.weight, head.bias.*encoder without a classifier"),
    "mae pretraining": (
        lambda w: changed(without(w, *HEAD), mask_token=torch.ones(1, 1, 32), decoder_embed__weight=torch.ones(8, 32)),
        "decoder_embed.weight.*pretraining.*decoder",
    ),
    "dino": (
        lambda w: {
            "teacher": changed(prefixed("backbone.", without(w, "head.")), head__mlp__0__weight=torch.ones(8, 32))
        },
        "self-supervised training",
    ),
    "lora": (
        lambda w: {"base_model.model.blocks.0.attn.qkv.lora_A.weight": torch.ones(4, 32)},
        "LoRA or another PEFT adapter.*merge_and_unload",
    ),
    "own head": (
        lambda w: changed(without(w, "head."), head__1__weight=torch.ones(3, 32), head__1__bias=torch.ones(3)),
        r"its head is another one \(head.1.weight, head.1.bias\).*Sequential",
    ),
    "quantised": (
        lambda w: changed(w, blocks__0__attn__qkv__SCB=torch.ones(96)),
        "weights are quantised",
    ),
    "transformers' file": (
        lambda w: {"vit.embeddings.cls_token": torch.ones(1, 1, 32), "vit.encoder.layer.0.x.weight": torch.ones(2, 2)},
        "names are those of transformers: give the whole folder",
    ),
    "clip": (
        lambda w: changed(prefixed("visual.", without(w, "head.")), logit_scale=torch.ones(())),
        "model of pictures and text",
    ),
    "segmenter": (lambda w: prefixed("image_encoder.", without(w, "head.")), "detector or segments"),
    "resolution": (
        lambda w: changed(w, pos_embed=torch.ones(1, 65, 32)),
        r"pos_embed \(\[1, 17, 32\] in the model, \[1, 65, 32\] in the file\).*"
        "another resolution: 8 patches a side, .* 4.*--image-size",
    ),
    "width": (
        lambda w: tiny("tiny_vit", embed_dim=48).state_dict(),
        "larger or smaller model of the kind",
    ),
    "patches": (
        lambda w: changed(w, patch_embed__proj__weight=torch.ones(32, 1, 8, 8)),
        "patches are of another size or number of channels",
    ),
    "another architecture": (lambda w: tiny("tiny_resnet").state_dict(), "another architecture"),
    "a layer that counts": (
        lambda w: changed(w, pre_logits__fc__weight=torch.ones(32, 32), pre_logits__fc__bias=torch.ones(32)),
        "pre_logits.fc.weight, pre_logits.fc.bias, which tiny_vit does not know",
    ),
    "flax": (lambda w: {"params/Dense_0/kernel": torch.ones(3, 3)}, "names are those of JAX or Keras"),
    "mmpretrain": (
        lambda w: changed(prefixed("backbone.", without(w, "head.")), head__layers__head__weight=torch.ones(3, 32)),
        "layout of mmpretrain",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_says_both_sides_and_why(kind: str, state: State, tmp_path: Path) -> None:
    make, message = WRONG[kind]
    with pytest.raises(CheckpointMismatchError, match=f"w.pth.* is not a checkpoint of tiny_vit: .*{message}"):
        loaded(tmp_path, make(state))


def test_a_shard_alone_says_so(state: State, tmp_path: Path) -> None:
    first = dict(list(state.items())[:9])
    path = saved(tmp_path, first, "pytorch_model-00001-of-00002.bin")
    with pytest.raises(CheckpointMismatchError, match="one of several shards: give the folder"):
        load_timm_model(Plan("tiny_vit", tmp_path, checkpoint=path, register=(REGISTER,), num_classes=3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"head.bias": torch.full((3,), torch.nan)}, CheckpointUnreadableError, "head.bias holds NaN"),
        ({"head.bias": torch.ones(3, dtype=torch.int8)}, CheckpointUnreadableError, "int8, the model wants float32"),
        (
            {"head.weight": torch.ones(9, 32), "head.bias": torch.ones(9)},
            ClassesMismatchError,
            r"labels.txt says 3 classes, w.pth says 9",
        ),
    ],
)
def test_what_fits_and_is_wrong_is_refused(
    change: State, error: type[BuildError], message: str, state: State, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        loaded(tmp_path, {**state, **change})


def test_swin_of_an_older_timm_fits_by_timms_own_conversion(tmp_path: Path) -> None:
    state = tiny("tiny_swin").state_dict()
    found = loaded(tmp_path, older_swin(state), "tiny_swin")
    assert found.provenance["layout"] == "converted by timm's swin_transformer"
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.classifier.model.state_dict().items())


def test_timms_conversion_does_not_resample_unasked(tmp_path: Path) -> None:
    state = older_swin(tiny("tiny_swin", window_size=2).state_dict())
    with pytest.raises(CheckpointMismatchError, match=r"relative_position_bias_table.*another resolution or window"):
        loaded(tmp_path, state, "tiny_swin")


@pytest.mark.parametrize(("file", "asked"), [(64, 64), (32, 64), (64, 32)])
def test_positions_are_resampled_where_another_size_is_asked_for(file: int, asked: int, tmp_path: Path) -> None:
    state = tiny("tiny_vit", img_size=file).state_dict()
    found = loaded(tmp_path, {"model": state}, image_size=asked).classifier
    assert found.preprocessing.height == asked
    side = asked // 8
    wanted = resample_abs_pos_embed(state["pos_embed"], [side, side], num_prefix_tokens=1)
    assert torch.equal(found.model.get_parameter("pos_embed"), wanted)
    assert torch.equal(found.model.get_parameter("head.weight"), state["head.weight"])


def test_the_linear_classifier_over_several_layers_answers_as_transformers_layers_do(tmp_path: Path) -> None:
    made, state = by_transformers(tmp_path, "dinov2")
    backbone = {name.replace("encoder.", "backbone.", 1): each for name, each in state.items() if "head" not in name}
    head = torch.randn(3, 96, generator=torch.Generator().manual_seed(0)) / 4
    content = {**backbone, "linear_head.weight": head, "linear_head.bias": torch.zeros(3)}
    found = loaded(tmp_path, content, "tiny_dinov2").classifier.model
    code: Any = made.code
    picture = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        layers = code.dinov2(picture, output_hidden_states=True).hidden_states
        normed = [code.dinov2.layernorm(layer) for layer in layers[-2:]]
        wanted = torch.cat([normed[0][:, 0], normed[1][:, 0], normed[1][:, 1:].mean(1)], dim=1) @ head.T
        assert torch.allclose(found(picture), wanted, atol=1e-5)


def test_old_checkpoints_without_batch_counters_fit(tmp_path: Path) -> None:
    state = tiny("tiny_resnet").state_dict()
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert loaded(tmp_path, old, "tiny_resnet").provenance["weights"] == "w.pth"


def test_the_sizes_of_real_models_are_told_apart(tmp_path: Path) -> None:
    content = timm.create_model("vit_tiny_patch16_224", img_size=384, num_classes=3).state_dict()
    with pytest.raises(CheckpointMismatchError, match="24 patches a side, the model has 14"):
        loaded(tmp_path, content, "vit_tiny_patch16_224")
