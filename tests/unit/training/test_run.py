"""The epochs: they learn, they repeat, and an interrupted run ends as an uninterrupted one."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

import training.architecture  # noqa: F401  (registers the architecture)
from build_engines.model import load_timm_model
from build_engines.options import plan_of
from tests.unit.training.conftest import MakeSetup
from tests.waiting import until
from training.augmentation import Augmentation, seed_all, shifted
from training.errors import RecipeError, ResumeError
from training.fit import fit
from training.recipe import Recipe
from training.run import Run


def silent(_: Any) -> None:
    """Says nothing."""


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.result


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_architecture_has_a_class_token_that_the_head_reads() -> None:
    model = timm.create_model("vit_nano_convstem_patch4_32")
    assert isinstance(model, VisionTransformer)
    assert model.global_pool == "token"
    assert model.cls_token is not None
    assert model.cls_token.shape == (1, 1, 128)
    assert model.patch_embed.num_patches == 64
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_bundled_weights_are_those_of_their_architecture() -> None:
    model = timm.create_model("vit_micro_convstem_patch4_32")
    result = Path(__file__).parents[3] / "training" / "result"
    model.load_state_dict(load_file(result / "weights.safetensors"))
    assert sum(each.numel() for each in model.parameters()) == 2_108_906
    last = json.loads((result / "log.jsonl").read_text().splitlines()[-1])
    assert (last["epoch"], last["test_top1"]) == (11, 89.33)


def test_shifting_cuts_each_picture_out_of_its_reflection_and_flips_some() -> None:
    images = torch.arange(128, dtype=torch.uint8).reshape(2, 8, 8, 1).expand(2, 8, 8, 3).repeat(16, 1, 1, 1)
    seed_all(0)
    out = shifted(images, padding=2)
    assert out.shape == images.shape
    for index in range(len(images)):
        assert torch.isin(out[index], images[index]).all()
    assert len({tuple(picture.flatten().tolist()) for picture in out}) > 16


@pytest.mark.parametrize(
    ("min_crop", "words"), [(1.0, ""), (1.0, "rand-m9-n2"), (0.5, ""), (0.5, "rand-m9-n2-mstd0.5")]
)
def test_augmentation_gives_the_models_size_and_repeats_by_its_seed(min_crop: float, words: str) -> None:
    augment = Augmentation((16, 16), min_crop, words, (0.5, 0.5, 0.5), "bicubic")
    side = 16 if min_crop == 1 else 20
    images = torch.randint(0, 256, (8, side, side, 3), dtype=torch.uint8)
    seed_all(1, 2)
    first = augment(images)
    seed_all(1, 3)
    other = augment(images)
    seed_all(1, 2)
    assert torch.equal(first, augment(images))
    assert not torch.equal(first, other)
    assert first.shape == (8, 16, 16, 3)
    assert first.dtype == torch.uint8


RECIPES: list[dict[str, Any]] = [
    {},
    {"patience": 1, "hold_out": 0.25, "rand_augment": "rand-m5-n1", "repeats": 2, "drop_path": 0.1},
    {"model": "resnet9_32", "freeze": 1, "layer_decay": 0.5, "ema_decay": 0.0},
]


@pytest.mark.parametrize("changes", RECIPES)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    setup: MakeSetup, tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = Run(setup(**changes), tmp_path / "whole", silent)
    whole.train()

    class Interrupted(Exception):
        pass

    def interrupt(_: Any) -> None:
        raise Interrupted

    parts = Run(setup(**changes), tmp_path / "parts", silent)
    with pytest.raises(Interrupted):
        parts.train(interrupt)
    resumed = Run(setup(**changes), tmp_path / "parts", silent)
    assert len(resumed.history) == 1
    resumed.train()
    assert same(whole.result, resumed.result)
    lines = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    losses = [[json.loads(line)["loss"] for line in each] for each in lines]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("dtype", "fused"), [(torch.bfloat16, False), (None, True)])
def test_attention_is_written_out_where_a_cpu_trains_in_bfloat16(
    setup: MakeSetup, tmp_path: Path, dtype: torch.dtype | None, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run._low_precision", lambda _: dtype)
    run = Run(setup(epochs=6, mix_probability=0.0), tmp_path, silent)
    assert {each.fused_attn for each in run.model.modules() if hasattr(each, "fused_attn")} == {fused}
    run.train()
    assert run.history[-1]["test_top1"] == 100.0


def test_a_killed_process_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.cli", "fit", str(data), "--model", "vit_nano_convstem_patch4_32"]
    command += ["--epochs", "8", "--batch-size", "8", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, tmp_path / "killed"], env=environment, stdout=subprocess.DEVNULL) as process:
        until((tmp_path / "killed" / "checkpoint.pt").exists)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed" / "training.json").exists(), "it ended before it was killed"
    for name in ("killed", "whole"):
        subprocess.run([*command, tmp_path / name], env=environment, check=True, stdout=subprocess.DEVNULL)
    killed, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "whole"))
    assert same(killed, whole)


def test_a_run_of_another_recipe_or_on_other_pictures_is_not_resumed(
    setup: MakeSetup, tmp_path: Path, data: Path
) -> None:
    Run(setup(epochs=1), tmp_path, silent).train()
    with pytest.raises(ResumeError, match=r"another epochs \(1, now 2\)"):
        Run(setup(), tmp_path, silent)
    with pytest.raises(ResumeError, match="another pictures"):
        Run(setup(data / "train", epochs=1), tmp_path, silent)


def test_an_epoch_shows_every_picture(setup: MakeSetup, tmp_path: Path) -> None:
    for repeats in (1, 2):
        run = Run(setup(batch_size=10, repeats=repeats), tmp_path / str(repeats), silent)
        batches = list(run._batches())
        assert [len(batch) for batch in batches] == [10] * 5
        assert len(set(torch.cat(batches).tolist())) == 48 // repeats


def test_a_few_epochs_learn_what_a_glance_tells_apart(setup: MakeSetup, tmp_path: Path) -> None:
    run = Run(setup(epochs=6, mix_probability=0.0), tmp_path, silent)
    run.train()
    assert run.history[-1]["test_top1"] == 100.0


def test_the_best_epoch_is_kept_and_the_run_ends_where_nothing_comes_any_more(setup: MakeSetup, tmp_path: Path) -> None:
    run = Run(setup(epochs=40, patience=2, hold_out=0.25, mix_probability=0.0), tmp_path, silent)
    run.train()
    assert len(run.history) < 40
    rights = [record["val_top1"] for record in run.history]
    assert rights.index(max(rights)) == len(rights) - 3
    run.averaged.load_state_dict(run.result)
    judging = run.setup.data.judging
    assert judging
    assert run.accuracy(judging) == pytest.approx(max(rights), abs=0.01)


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("model", ["vit_nano_convstem_patch4_32", "deit_tiny_distilled_patch16_224"])
def test_a_student_learns_what_its_teacher_answers_and_not_the_labels(
    setup: MakeSetup, data: Path, tmp_path: Path, kind: str, model: str
) -> None:
    """With the whole weight on the teacher, labels that say the opposite change nothing."""
    fit(
        setup(model="resnet9_32", epochs=4, mix_probability=0.0).recipe,
        data,
        tmp_path / "teacher",
        tensorboard=False,
        say=silent,
    )
    wrong = tmp_path / "wrong"
    for split in ("train", "test"):
        shutil.copytree(data / split / "above", wrong / split / "below")
        shutil.copytree(data / split / "below", wrong / split / "above")
    choices: dict[str, Any] = {"model": model, "distill": (str(tmp_path / "teacher"),), "distill_kind": kind}
    if "deit" in model:
        choices |= {"image_size": 32, "pretrained": False}
    run = Run(setup(wrong, **choices, distill_weight=1.0, mix_probability=0.0, epochs=8), tmp_path / "student", silent)
    run.train()
    if "deit" in model:  # The mean of two heads, of which only one was taught: it must not be the labels'.
        assert run.history[-1]["loss"] < run.history[0]["loss"]
    else:
        assert run.history[-1]["test_top1"] < 10.0


def test_several_teachers_are_averaged_and_each_sees_the_picture_as_its_own(
    setup: MakeSetup, data: Path, tmp_path: Path
) -> None:
    folders = []
    for model, more in (("resnet9_32", {}), ("vit_nano_convstem_patch4_32", {"image_size": 48})):
        folders.append(str(tmp_path / model))
        fit(setup(model=model, epochs=1, **more).recipe, data, tmp_path / model, tensorboard=False, say=silent)
    both, *alone = (setup(distill=each).teacher for each in (folders, folders[:1], folders[1:]))
    assert both
    both.eval()
    pictures = torch.rand(4, 3, 32, 32)
    means = torch.stack([each.eval()(pictures) for each in alone if each]).mean(0)
    assert torch.allclose(both(pictures), means, atol=1e-6)
    own = load_timm_model(plan_of(argparse.Namespace(model=folders[1]))).classifier
    seen = torch.nn.functional.interpolate(pictures, (48, 48), mode="bicubic", antialias=True)
    seen = (seen - torch.tensor(own.mean).view(1, 3, 1, 1)) / torch.tensor(own.std).view(1, 3, 1, 1)
    assert torch.allclose(alone[1](pictures), own.model.eval()(seen).log_softmax(1), atol=1e-4)  # type: ignore[misc]


def test_a_teacher_of_other_classes_is_refused(setup: MakeSetup, data: Path, tmp_path: Path) -> None:
    fit(setup(epochs=1).recipe, data, tmp_path / "teacher", tensorboard=False, say=silent)
    for name in ("one", "two"):
        shutil.copytree(data / "train" / "above", tmp_path / "other" / name)
    with pytest.raises(RecipeError, match="a teacher must know the same"):
        setup(tmp_path / "other", distill=(str(tmp_path / "teacher"),))


def test_a_training_starts_where_a_head_was_fitted(setup: MakeSetup, data: Path, tmp_path: Path) -> None:
    """The head is kept, so that the first step does not spoil the features (Kumar et al. 2022)."""
    weights = Path(__file__).parents[2] / "data" / "vit_nano" / "weights.safetensors"
    head = Recipe("vit_nano_convstem_patch4_32", checkpoint=str(weights), head_only=True, hold_out=0.25)
    fit(head, data, tmp_path / "head", tensorboard=False, say=silent)
    again = setup(model="", checkpoint=str(tmp_path / "head"), head_only=False, hold_out=0.25)
    run = Run(again, tmp_path / "full", silent)
    fitted = load_file(tmp_path / "head" / "model.safetensors")
    assert same({name: value.cpu() for name, value in run.model.state_dict().items()}, fitted)
    assert run.accuracy(run.setup.data.splits["test"]) == 100.0
