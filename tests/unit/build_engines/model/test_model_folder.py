"""A folder says what its model is; what contradicts itself or is not known is refused."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from build_engines.errors import (
    BuildError,
    CheckpointMismatchError,
    CheckpointUnreadableError,
    LabelsMissingError,
    PlanError,
    ProcessorMissingError,
    UnsupportedModelError,
)
from build_engines.model import load_timm_model, timm_model_key, torch_answers
from build_engines.plan import Plan
from tests.unit.build_engines.origins import LABELS, STD, Made, by_transformers, pictures, saved, timm_folder


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Transformers' ViT in a folder."""
    return by_transformers(tmp_path, "vit")[0]


def edited(made: Made, name: str, **changes: Any) -> None:
    path = made.checkpoint / name
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def weights(made: Made, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = made.checkpoint / "model.safetensors"
    save_file(change(load_file(path)), path)


@pytest.mark.parametrize("form", ["sharded", "bin", "half"])
def test_weights_of_every_form_answer_alike(form: str, made: Made, tmp_path: Path) -> None:
    whole = made.checkpoint / "model.safetensors"
    if form == "bin":
        torch.save(load_file(whole), made.checkpoint / "pytorch_model.bin")
        whole.unlink()
    elif form == "half":
        made.code.half().float()
        weights(made, lambda state: {name: tensor.half() for name, tensor in state.items()})
    else:
        made = by_transformers(tmp_path / "again", "vit", max_shard_size="20KB")[0]
        assert len(list(made.checkpoint.glob("model-*.safetensors"))) > 1
    loaded = load_timm_model(made.plan(tmp_path))
    images = pictures(32)
    assert np.abs(torch_answers(loaded.classifier, images) - made.answers(images)).max() <= 1e-5


def test_the_provenance_names_the_origin_and_the_mapping(made: Made, tmp_path: Path) -> None:
    said = load_timm_model(made.plan(tmp_path)).provenance
    assert said["weights"] == "vit/model.safetensors"
    assert said["layout"] == "transformers' vit"
    assert said["labels"] == "vit/model.safetensors, its own"
    assert said["timm_name"] == "vit_base_patch16_224"
    assert "embed_dim=32, depth=2" in said["timm_arguments"]
    assert said["timm_tag"] == "none"


def test_an_entry_is_named_as_the_folder(made: Made, tmp_path: Path) -> None:
    assert Plan(checkpoint=made.checkpoint).base_name == "vit"
    odd = made.checkpoint.rename(tmp_path / "my vit!")
    with pytest.raises(PlanError, match="--name"):
        Plan(checkpoint=odd)
    with pytest.raises(PlanError, match="name a timm model"):
        Plan(checkpoint=odd / "model.safetensors")


def test_every_file_of_the_folder_is_in_the_key(made: Made) -> None:
    plan = Plan(checkpoint=made.checkpoint)
    keys = [timm_model_key(plan)]
    edited(made, "preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    keys.append(timm_model_key(plan))
    edited(made, "config.json", hidden_act="relu")
    keys.append(timm_model_key(plan))
    weights(made, lambda state: {name: tensor + 1 for name, tensor in state.items()})
    keys.append(timm_model_key(plan))
    keys.append(timm_model_key(Plan(checkpoint=made.checkpoint, checkpoint_key="model")))
    assert len({json.dumps(key) for key in keys}) == 5


def test_the_name_of_another_model_beside_the_folder_is_refused(made: Made) -> None:
    with pytest.raises(CheckpointMismatchError, match=r"not a model like resnet18: .*leave the name out"):
        load_timm_model(Plan("resnet18", checkpoint=made.checkpoint))


@pytest.mark.parametrize("act", ["relu", "gelu_new", "quick_gelu"])
def test_the_activation_is_the_configurations(act: str, made: Made, tmp_path: Path) -> None:
    edited(made, "config.json", hidden_act=act)
    code: Any = made.code
    again = type(code).from_pretrained(made.checkpoint).eval()
    loaded = load_timm_model(made.plan(tmp_path))
    images = pictures(32)
    answers = Made(made.checkpoint, again).answers(images)
    assert np.abs(answers - made.answers(images)).max() > 1e-5
    assert np.abs(torch_answers(loaded.classifier, images) - answers).max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "changes", "error", "message"),
    [
        (
            "config.json",
            {"model_type": "bert"},
            UnsupportedModelError,
            "'bert'; .*vit, deit, beit, swin, dinov2, resnet",
        ),
        ("config.json", {"hidden_act": "selu"}, UnsupportedModelError, "hidden_act 'selu'"),
        ("config.json", {"num_channels": 1}, UnsupportedModelError, "num_channels is 1"),
        ("config.json", {"image_size": 48}, CheckpointMismatchError, "pictures of 48x48.* 32x32"),
        ("config.json", {"num_attention_heads": 5}, UnsupportedModelError, "timm makes no model"),
        ("config.json", {"num_hidden_layers": 3}, CheckpointMismatchError, "not what config.json says.*blocks.2"),
        ("config.json", {"id2label": {"1": "a", "2": "b", "3": "c"}}, LabelsMissingError, "must be 0, 1, 2"),
        ("config.json", {"id2label": {"0": "a", "1": "b"}}, BuildError, "says 3 classes, id2label says 2"),
        ("config.json", {"hidden_size": "wide"}, CheckpointUnreadableError, "is of the wrong kind"),
        ("preprocessor_config.json", {"resample": [3]}, CheckpointUnreadableError, "is of the wrong kind"),
        (
            "config.json",
            {"problem_type": "multi_label_classification"},
            UnsupportedModelError,
            "do not exclude each other",
        ),
        ("config.json", {"problem_type": "regression"}, UnsupportedModelError, "problem_type is 'regression'"),
        ("preprocessor_config.json", {"do_resize": False}, UnsupportedModelError, "do_resize is off"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(
    name: str, changes: dict[str, Any], error: type[BuildError], message: str, made: Made
) -> None:
    edited(made, name, **changes)
    with pytest.raises(error, match=message):
        load_timm_model(Plan(checkpoint=made.checkpoint))


def test_a_folder_without_a_processor_is_refused_with_the_way_out(made: Made, tmp_path: Path) -> None:
    (made.checkpoint / "preprocessor_config.json").unlink()
    with pytest.raises(ProcessorMissingError, match=r"processor\.save_pretrained"):
        load_timm_model(made.plan(tmp_path))


def test_a_broken_configuration_is_refused(made: Made, tmp_path: Path) -> None:
    (made.checkpoint / "config.json").write_text("{")
    with pytest.raises(CheckpointUnreadableError, match=r"config.json is not a JSON file"):
        load_timm_model(made.plan(tmp_path))


def test_an_encoder_in_a_folder_has_no_classifier(made: Made, tmp_path: Path) -> None:
    weights(made, lambda state: {name: tensor for name, tensor in state.items() if not name.startswith("classifier")})
    with pytest.raises(CheckpointMismatchError, match=r"needs head.weight, head.bias.*encoder without a classifier"):
        load_timm_model(made.plan(tmp_path))


def test_a_folder_of_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointUnreadableError, match=r"PEFT adapter.*merge_and_unload"):
        timm_model_key(Plan("vit_tiny_patch16_224", checkpoint=tmp_path))


def test_a_file_of_transformers_alone_asks_for_its_folder(made: Made, tmp_path: Path) -> None:
    path = saved(tmp_path, load_file(made.checkpoint / "model.safetensors"))
    with pytest.raises(CheckpointMismatchError, match="names are those of transformers: give the whole folder"):
        load_timm_model(Plan("vit_tiny_patch16_224", checkpoint=path, num_classes=3))


def test_an_older_folder_of_timm_says_how_pictures_are_taken(tmp_path: Path) -> None:
    made = timm_folder(tmp_path)
    path = made.checkpoint / "config.json"
    old = {"architecture": json.loads(path.read_text())["architecture"], "num_classes": 3, "labels": list(LABELS)}
    data = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "crop_pct": 1.0}
    path.write_text(json.dumps({**old, **data, "input_size": [3, 32, 32], "classifier": "head"}))
    loaded = load_timm_model(Plan(checkpoint=made.checkpoint))
    preprocessing = loaded.classifier.preprocessing
    assert (loaded.classifier.mean, loaded.classifier.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (preprocessing.crop_pct, preprocessing.interpolation) == (1.0, "bilinear")
    assert loaded.labels == LABELS


def test_a_folder_of_timm_cannot_have_other_files_loaded(tmp_path: Path) -> None:
    made = timm_folder(tmp_path)
    edited(made, "config.json", model_args={"checkpoint_path": "/elsewhere/w.pth"})
    with pytest.raises(UnsupportedModelError, match=r"model_args of config.json has checkpoint_path"):
        load_timm_model(made.plan(tmp_path))


def test_a_folder_is_resampled_where_another_size_is_asked_for(made: Made, tmp_path: Path) -> None:
    loaded = load_timm_model(dataclasses.replace(made.plan(tmp_path), image_size=64))
    assert loaded.classifier.preprocessing.height == 64
    code: Any = made.code
    loaded_pos = loaded.classifier.model.get_parameter("pos_embed")
    wanted = resample_abs_pos_embed(code.vit.embeddings.position_embeddings, [8, 8], num_prefix_tokens=1)
    assert torch.allclose(loaded_pos, wanted, atol=1e-5)


def test_what_the_user_says_of_pictures_goes_before_the_folder(made: Made, tmp_path: Path) -> None:
    loaded = load_timm_model(dataclasses.replace(made.plan(tmp_path), mean=(0.1, 0.2, 0.3)))
    assert (loaded.classifier.mean, loaded.classifier.std) == ((0.1, 0.2, 0.3), STD)


def test_labels_of_the_plan_go_before_those_of_the_folder(made: Made, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x\ny\nz\n")
    loaded = load_timm_model(Plan(checkpoint=made.checkpoint, labels=tmp_path / "mine.txt"))
    assert loaded.labels == ("x", "y", "z")
    assert load_timm_model(made.plan(tmp_path)).labels == LABELS
