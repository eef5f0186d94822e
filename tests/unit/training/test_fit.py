"""What a training leaves: a folder that timm and build-engines read, and a report that says what is wrong."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from build_engines.model import load_timm_model
from build_engines.options import plan_of
from build_engines.pictures import open_pictures
from contract.spec import Preprocessing
from tests.unit.training.conftest import TINY, MakeSetup
from training.answering import Normalise, answers
from training.cli import main
from training.errors import ResumeError
from training.fit import fit
from training.recipe import Recipe
from training.report import Judged
from training.setup import set_up

CPU = torch.device("cpu")


def silent(_: Any) -> None:
    """Says nothing."""


def trained(recipe: Recipe, data: Path, folder: Path) -> dict[str, Any]:
    fit(recipe, data, folder, tensorboard=False, say=silent)
    facts: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return facts


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "stripes"
    trained(replace(TINY, epochs=4, mix_probability=0.0, hold_out=0.25), data, folder)
    return folder


def test_the_folder_holds_model_labels_recipe_metrics_and_pictures(run: Path, data: Path) -> None:
    facts = json.loads((run / "training.json").read_text())
    assert (run / "labels.txt").read_text() == "above\nbelow\n"
    assert facts["metrics"]["split"] == "test"
    assert facts["metrics"]["pictures"] == 12
    assert facts["notes"]["accuracy.top1"] == f"{facts['metrics']['top1']:.2f}"
    assert facts["recipe"]["epochs"] == 4
    assert facts["recipe"]["drop_path"] is not None
    assert (run / facts["pictures"]["path"]).resolve() == data.resolve()
    for name, count in (("train.csv", 36), ("evaluation.csv", 12)):
        pictures = open_pictures(run / name)
        assert len(pictures) == count
        assert set(pictures.classes) == {"above", "below"}
        assert (run / pictures.names[0]).is_file()
    assert {"report.md", "curves.png", "confusions.png", "worst.png"} <= {each.name for each in run.iterdir()}
    with Image.open(run / "curves.png") as picture:
        assert picture.width > 500


def test_the_builder_reads_it_and_answers_as_the_report_says(run: Path, setup: MakeSetup) -> None:

    plan = plan_of(argparse.Namespace(model=str(run)))
    loaded = load_timm_model(plan)
    assert loaded.labels == ("above", "below")
    test = setup().data.splits["test"]
    normalise = Normalise(loaded.classifier.mean, loaded.classifier.std)
    right = (answers(loaded.classifier.model, test.images, normalise, CPU).argmax(1) == test.targets).mean()
    metrics = json.loads((run / "training.json").read_text())["metrics"]
    assert 100 * right == pytest.approx(metrics["top1"], abs=1e-3)


def test_timm_itself_reads_it(run: Path) -> None:
    model: Any = timm.create_model(f"local-dir:{run}", pretrained=True)
    assert model.num_classes == 2
    assert tuple(model.pretrained_cfg["input_size"]) == (3, 32, 32)


def test_a_training_starts_from_another_ones_folder_with_other_classes(run: Path, tmp_path: Path, data: Path) -> None:
    for name, source in (("a", "above"), ("b", "below"), ("c", "above")):
        shutil.copytree(data / "train" / source, tmp_path / "three" / name)
    recipe = replace(TINY, model="", checkpoint=str(run), epochs=1, head_only=False)
    facts = trained(recipe, tmp_path / "three", tmp_path / "next")
    assert facts["notes"]["training.origin"].startswith("stripes/model.safetensors")
    assert facts["recipe"]["layer_decay"] < 1
    assert (tmp_path / "next" / "labels.txt").read_text() == "a\nb\nc\n"


def test_a_head_for_other_labels_is_new_though_there_are_as_many(run: Path, tmp_path: Path, data: Path) -> None:
    for name, source in (("y", "above"), ("x", "below")):
        shutil.copytree(data / "train" / source, tmp_path / "other" / name)
    recipe = replace(TINY, model="", checkpoint=str(run), head_only=False, hold_out=0.0)
    same = set_up(recipe, data / "train", silent).start.classifier.model.state_dict()
    other = set_up(recipe, tmp_path / "other", silent).start.classifier.model.state_dict()
    assert [name for name in same if not torch.equal(same[name], other[name])] == ["head.weight", "head.bias"]


def test_a_training_from_a_run_is_judged_by_what_that_has_not_learnt_from(
    run: Path, tmp_path: Path, data: Path
) -> None:
    seen = set((run / "seen.txt").read_text().split())
    assert len(seen) == 36
    recipe = replace(TINY, model="", checkpoint=str(run / "model.safetensors"), epochs=1, hold_out=0.25, seed=5)
    trained(replace(recipe, model=TINY.model), data / "train", tmp_path / "next")
    setup = set_up(replace(recipe, model=TINY.model), data / "train", silent)
    assert not seen & set(setup.data.splits["val"].files)
    known = set((tmp_path / "next" / "seen.txt").read_text().split())
    assert known == seen | set(setup.data.train.files)


def test_a_folder_of_another_run_is_left_as_it_is(run: Path, tmp_path: Path, data: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    before = {each.name: each.read_bytes() for each in copy.iterdir()}
    head = Recipe(checkpoint=str(run), head_only=True)
    with pytest.raises(ResumeError, match="holds a run with another model"):
        trained(head, data, copy)
    assert {each.name: each.read_bytes() for each in copy.iterdir()} == before
    (copy / "training.json").unlink()
    with pytest.raises(ResumeError, match="holds a training; choose another --out"):
        trained(head, data, copy)
    fitted = trained(head, data, tmp_path / "head")
    assert trained(head, data, tmp_path / "head") == fitted
    with pytest.raises(ResumeError, match="holds a run with another"):
        trained(replace(TINY, epochs=1), data, tmp_path / "head")


@pytest.mark.parametrize("listed", [False, True], ids=["folder", "absolute list"])
def test_a_folder_below_a_link_finds_its_pictures(tmp_path: Path, data: Path, listed: bool) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "deep" / "er")
    source = data
    if listed:
        source = tmp_path / "list.csv"
        rows = [f"{each},{each.parent.name}\n" for each in sorted((data / "train").rglob("*.png"))]
        source.write_text("path,label\n" + "".join(rows))
    trained(replace(TINY, epochs=1, hold_out=0.25), source, tmp_path / "runs" / "x")
    plan = plan_of(argparse.Namespace(model=str(tmp_path / "runs" / "x")))
    assert plan.evaluation is not None
    assert len(open_pictures(plan.evaluation).pixels(Preprocessing(8, 8))) == 12


def test_a_larger_picture_has_resampled_positions_and_the_folder_says_so(run: Path, tmp_path: Path, data: Path) -> None:
    recipe = replace(TINY, model="", checkpoint=str(run), epochs=1, head_only=False, image_size=48)
    trained(recipe, data, tmp_path / "large")

    loaded = load_timm_model(plan_of(argparse.Namespace(model=str(tmp_path / "large"))))
    assert loaded.classifier.preprocessing.height == 48
    assert loaded.classifier.model.get_parameter("pos_embed").shape[1] == 145


def test_the_crop_that_was_trained_on_is_the_one_that_is_served(tmp_path: Path, data: Path) -> None:
    recipe = replace(TINY, epochs=1, crop_pct=0.5)
    trained(recipe, data, tmp_path / "middle")

    loaded = load_timm_model(plan_of(argparse.Namespace(model=str(tmp_path / "middle"))))
    assert loaded.classifier.preprocessing.crop_pct == 0.5


def test_swapped_labels_between_splits_are_told(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "train", tmp_path / "set" / "train")
    shutil.copytree(data / "test" / "above", tmp_path / "set" / "test" / "below")
    shutil.copytree(data / "test" / "below", tmp_path / "set" / "test" / "above")
    facts = trained(replace(TINY, epochs=6, mix_probability=0.0), tmp_path / "set", tmp_path / "run")
    assert facts["metrics"]["top1"] < 50
    (hint,) = facts["metrics"]["hints"]
    assert "the two labels may be swapped" in hint
    assert hint in (tmp_path / "run" / "report.md").read_text()


def test_all_pictures_may_be_trained_on_and_then_nothing_is_claimed(data: Path, tmp_path: Path) -> None:
    facts = trained(replace(TINY, epochs=1, hold_out=0.0), data / "train", tmp_path / "run")
    assert facts["evaluation"] is None
    assert not any(key.startswith("accuracy") for key in facts["notes"])
    assert not (tmp_path / "run" / "evaluation.csv").exists()


def test_the_metrics_are_counted(setup: MakeSetup) -> None:

    test = setup().data.splits["test"]
    logits = np.zeros((12, 2), np.float32)
    logits[:, 0] = 1
    judged = Judged("test", test, logits, ("above", "below"))
    assert judged.metrics["top1"] == 50.0
    assert judged.metrics["by_class"] == {"above": 100.0, "below": 0.0}
    assert judged.metrics["confusions"] == [[6, 0], [6, 0]]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--model", "vit_pico"], "unknown_model"),
        (["--model", "resnet18", "--checkpoint", "nothing.pth"], "checkpoint_unreadable"),
        ([], "invalid_recipe"),
    ],
)
def test_refusals_have_a_code_and_no_traceback(
    arguments: list[str], code: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(data), "--out", str(tmp_path / "run"), *arguments]) == 2
    assert capsys.readouterr().err.rstrip().endswith(f"[{code}]")
