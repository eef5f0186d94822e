"""A plan file says what it means, or is told what is wrong with it."""

from pathlib import Path

import pytest

from build_engines.errors import PlanError
from build_engines.plan import Plan
from build_engines.planfile import read_plans
from build_engines.values import Compiler, Precision


def written(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text)
    return path


def test_defaults_and_the_files_own_keys_reach_every_model(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        repository = "models"
        cache = "/var/cache/builds"

        [defaults]
        calibration = "pictures.zip/train"
        precisions = ["fp32", "int8"]
        notes = { owner = "vision team" }

        [[model]]
        model = "vit_tiny_patch16_224"

        [[model]]
        model = "resnet50"
        name = "birds"
        precisions = ["fp32"]
        compiler = "rtx"
        register = ["my.models"]
        num_classes = 12
        pretrained = false
        """,
    )
    assert read_plans(path) == (
        Plan(
            "vit_tiny_patch16_224",
            tmp_path / "models",
            precisions=(Precision.FP32, Precision.INT8),
            calibration=tmp_path / "pictures.zip" / "train",
            cache=Path("/var/cache/builds"),
            notes={"owner": "vision team"},
        ),
        Plan(
            "resnet50",
            tmp_path / "models",
            name="birds",
            compiler=Compiler.RTX,
            calibration=tmp_path / "pictures.zip" / "train",
            cache=Path("/var/cache/builds"),
            notes={"owner": "vision team"},
            register=("my.models",),
            num_classes=12,
            pretrained=False,
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"models.toml: write a \[\[model\]\] table"),
        ("model = 3", r"write a \[\[model\]\] table"),
        ("model = ['vit_tiny_patch16_224']", r"write \[\[model\]\] above the keys of each model"),
        ("[[model]\n", "is not TOML"),
        ("[[model]]\nname = 'x'", "say which timm model"),
        ("repositry = 'x'\n[[model]]\nmodel = 'm'", "no key 'repositry'; did you mean 'repository'"),
        ("[[model]]\nmodel = 'm'\nprecision = ['fp32']", r"\[\[model\]\] 1: there is no key 'precision'; did you mean"),
        ("[[model]]\nmodel = 'm'\nprecisions = ['int4']", r"precisions must be one of fp32, .*; is 'int4'"),
        ("[[model]]\nmodel = 'm'\nprecisions = 'fp32'", "precisions must be a list; is 'fp32'"),
        ("[[model]]\nmodel = 'm'\nmax_batch_size = '8'", "max_batch_size must be a whole number; is '8'"),
        ("[[model]]\nmodel = 'm'\nmax_batch_size = true", "max_batch_size must be a whole number"),
        ("[[model]]\nmodel = 'm'\nforce = 1", "force must be true or false"),
        ("[[model]]\nmodel = 'm'\nlabels = 3", "labels must be a path in quotes"),
        ("[[model]]\nmodel = 'm'\nnotes = { a = 1 }", "notes.a must be a text in quotes"),
        ("[[model]]\nmodel = 'm'\nmax_batch_size = 0", r"\[\[model\]\] 1: --max-batch-size must be at least 1"),
        ("[[model]]\nmodel = 'm'\nprecisions = ['int8']", "int8 must see real pictures"),
        ("[[model]]\nmodel = 'm'\n[[model]]\nmodel = 'm'", "1 and 2 both build 'm'"),
        ("defaults = 3\n[[model]]\nmodel = 'm'", "must be a table"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_plans(written(tmp_path, text))


def test_where_the_file_names_no_repository_each_compiler_has_its_own(tmp_path: Path) -> None:
    path = written(
        tmp_path, "[[model]]\nmodel = 'a'\n[[model]]\nmodel = 'a'\ncompiler = 'rtx'\nrace_batches = [1, 8, 8]\n"
    )
    served, compiled = read_plans(path)
    assert (served.repository, compiled.repository) == (tmp_path / "model_repository", tmp_path / "rtx_engines")
    assert compiled.race_batches == (1, 8, 8)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"nowhere\.toml cannot be read"):
        read_plans(tmp_path / "nowhere.toml")
