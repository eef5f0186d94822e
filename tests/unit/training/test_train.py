"""The recipe: it learns, it repeats, and an interrupted run ends as an uninterrupted one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

import training.architecture  # noqa: F401  (registers the architecture)
from training.train import Recipe, Run, augment

TINY = Recipe(epochs=2, batch_size=8, warmup_epochs=0.5, ema_decay=0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that a glance tells apart: bright above, bright below."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 6)):
        for name, rows in (("above", slice(0, 16)), ("below", slice(16, 32))):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 60, (32, 32, 3), dtype=np.uint8)
                pixels[rows] += 150
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


def test_the_architecture_has_a_class_token_that_the_head_reads() -> None:
    model = timm.create_model("vit_nano_convstem_patch4_32")
    assert isinstance(model, VisionTransformer)
    assert model.global_pool == "token"
    assert model.cls_token is not None
    assert model.cls_token.shape == (1, 1, 128)
    assert model.patch_embed.num_patches == 64
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_augmentation_cuts_each_picture_out_of_its_reflection_and_flips_some() -> None:
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8).repeat(16, 1, 1, 1)
    out = augment(images, torch.Generator().manual_seed(0), padding=2)
    assert out.shape == images.shape
    for index in range(len(images)):
        assert torch.isin(out[index], images[index]).all()
    assert len({tuple(picture.flatten().tolist()) for picture in out}) > 16


def test_an_interrupted_run_ends_as_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    Run(TINY, data, tmp_path / "whole").train()
    interrupted = Run(TINY, data, tmp_path / "parts")
    interrupted._keep(1, {"epoch": 1, "loss": interrupted._epoch(0)})
    resumed = Run(TINY, data, tmp_path / "parts")
    assert resumed.done == 1
    resumed.train()
    whole, parts = (load_file(tmp_path / run / "weights.safetensors") for run in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    assert (tmp_path / "whole" / "labels.txt").read_text() == "above\nbelow\n"
    assert len((tmp_path / "whole" / "log.jsonl").read_text().splitlines()) == 2


def test_a_run_of_another_recipe_is_not_resumed(data: Path, tmp_path: Path) -> None:
    Run(replace(TINY, epochs=1), data, tmp_path).train()
    with pytest.raises(ValueError, match="another recipe"):
        Run(TINY, data, tmp_path)


def test_an_unknown_model_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timm knows no model named 'vit_pico'"):
        Run(replace(TINY, model="vit_pico"), data, tmp_path)


def test_a_few_epochs_learn_what_a_glance_tells_apart(data: Path, tmp_path: Path) -> None:
    Run(replace(TINY, epochs=6, mix_probability=0.0), data, tmp_path).train()
    last = (tmp_path / "log.jsonl").read_text().splitlines()[-1]
    assert '"test_top1": 100.0' in last
