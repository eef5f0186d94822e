"""Recipes: what follows from the number of pictures, what is refused, and what the command line says."""

import argparse
from dataclasses import fields
from typing import Any

import pytest

from training.errors import RecipeError
from training.options import add_options, recipe_of
from training.recipe import BAND_CHOICES, BANDS, Recipe, band_rows


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("pictures", [1, 999, 1_000, 9_999, 10_000, 10**7])
def test_every_number_of_pictures_has_a_whole_recipe(pictures: int, trained: bool) -> None:
    settled = Recipe(model="x").settled(pictures, trained=trained).for_size(32)
    unsaid = {each.name for each in fields(Recipe) if getattr(settled, each.name) is None}
    assert unsaid <= {"image_size", "crop_pct", "hold_out"}
    assert settled.head_only == (trained and pictures < 1_000)


def test_the_more_pictures_the_more_of_a_trained_model_moves() -> None:
    trained = [band for band in BANDS if band.trained]
    assert [band.layer_decay for band in trained] == sorted(band.layer_decay for band in trained)
    assert [band.mix_probability for band in trained] == sorted(band.mix_probability for band in trained)
    assert len(list(band_rows())) == len(BANDS)


def test_what_is_chosen_stays() -> None:
    chosen = Recipe(model="x", epochs=7, head_only=False, layer_decay=0.9, min_crop=0.2).settled(10, trained=True)
    assert (chosen.epochs, chosen.head_only, chosen.layer_decay) == (7, False, 0.9)
    assert chosen.for_size(32).min_crop == 0.2
    assert Recipe(model="x", hold_out=0.5, image_size=64, seed=3).settled(10, trained=True).head_only is True


@pytest.mark.parametrize(
    "chosen",
    [
        *({"freeze": 2}, {"distill": ("x",)}, {"epochs": 3}, {"learning_rate": 1e-3}, {"rand_augment": "rand-m9"}),
        *({"layer_decay": 0.5}, {"batch_size": 8}, {"min_crop": 1.0}, {"patience": 3}, {"ema_decay": 0.0}),
    ],
)
def test_what_only_a_training_has_is_not_ignored_where_pictures_are_few(chosen: dict[str, Any]) -> None:
    settled = Recipe(model="x", **chosen).settled(10, trained=True)
    assert settled.head_only is False
    (name,) = chosen
    assert getattr(settled, name) == chosen[name]
    if name not in ("freeze", "distill"):
        with pytest.raises(RecipeError, match=f"leave --{name.replace('_', '-')} out"):
            Recipe(model="x", head_only=True, **chosen).settled(10, trained=True)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "name a timm --model"),
        ({"model": "x", "checkpoint": "y", "pretrained": False}, "exclude each other"),
        ({"model": "x", "head_only": True, "freeze": 1}, "leave --freeze out"),
        ({"model": "x", "head_only": True, "distill": ("y",)}, "leave --distill"),
        ({"model": "x", "epochs": 0}, "--epochs is from 1"),
        ({"model": "x", "learning_rate": float("nan")}, "--learning-rate is from 0"),
        ({"model": "x", "crop_pct": 90}, "--crop-pct is from 0.1 to 2"),
        ({"model": "x", "hold_out": 0.95}, "--hold-out is from 0 to 0.9"),
        ({"model": "x", "repeats": 64, "batch_size": 32}, "is more than a batch"),
    ],
)
def test_contradictions_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe(**choices)


def test_a_head_over_random_weights_is_refused() -> None:
    with pytest.raises(RecipeError, match="needs trained weights"):
        Recipe(model="x", head_only=True).settled(10, trained=False)


def test_every_choice_is_an_option() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Recipe)
    assert recipe_of(parser.parse_args(["--model", "x"]), Recipe) == Recipe(model="x")
    words = "--model x --no-head-only --freeze 3 --learning-rate 1e-3 --register a --register b --distill-kind hard"
    said = recipe_of(parser.parse_args([*words.split(), "--no-pretrained", "--rand-augment", "rand-m9"]), Recipe)
    assert said == Recipe(
        model="x",
        head_only=False,
        freeze=3,
        learning_rate=1e-3,
        register=("a", "b"),
        distill_kind="hard",
        pretrained=False,
        rand_augment="rand-m9",
    )
    shown = parser.format_help()
    assert all(f"--{each.name.replace('_', '-')}" in shown for each in fields(Recipe) if each.name != "pretrained")
    assert set(BAND_CHOICES) <= {each.name for each in fields(Recipe)}
