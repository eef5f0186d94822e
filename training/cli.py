"""The command `vitrine-train`: from a folder of pictures to a folder that `build-engines build` takes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from build_engines.errors import BuildError
from training.errors import TrainingError
from training.masked_autoencoder.recipe import MaskedRecipe
from training.options import add_options, recipe_of
from training.recipe import Recipe

REFUSED = 2

_FIT_HELP = """\
Train a timm model on your pictures. DATA is a folder or a zip of one folder for each class, with or without train/,
val/ and test/ above them, or a CSV with the heads path and label. What you do not choose follows from the number of
pictures (docs/training.md has the table).

  vitrine-train fit flowers/ --checkpoint lite0.pth --model tf_efficientnet_lite0 --out runs/flowers
      a few hundred pictures: a linear head on the features of ImageNet's weights
  vitrine-train fit cifar10.zip --model vit_nano_convstem_patch4_32 --out runs/vit --distill runs/teacher
      from random weights, learning from a teacher that was trained before
  build-engines build runs/flowers
      the entry, with its labels, its preprocessing and its accuracy

Killed at any moment, the same command goes on from the last whole epoch, and ends in the same weights, bit for bit.
"""


_MAE_HELP = """\
Pre-train a plain ViT without labels: three quarters of each picture are hidden, and it learns to paint them (He et al.
2021). Worth it where there are many pictures and few labels.

  vitrine-train mae pictures/ --model vit_nano_patch4_32 --out runs/mae
  vitrine-train fit labelled/ --model vit_nano_patch4_32 --checkpoint runs/mae/encoder.safetensors --out runs/vit
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 where it refused, 130 where it was interrupted."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
    except (TrainingError, BuildError) as error:
        print(f"vitrine-train: error: {error} [{error.code}]", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("vitrine-train: interrupted; the same command goes on from the last whole epoch", file=sys.stderr)
        return 130
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _from(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that imports torch, which takes seconds: `--help` does not wait for it."""
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def _fit(options: argparse.Namespace) -> None:
    recipe = recipe_of(options, Recipe)
    _from("training.fit", "fit")(recipe, options.data, options.out, tensorboard=options.tensorboard, say=_say)


def _mae(options: argparse.Namespace) -> None:
    recipe = recipe_of(options, MaskedRecipe)
    _from("training.masked_autoencoder.run", "pre_train")(recipe, options.data, options.out, _say)


def _groups(options: argparse.Namespace) -> None:
    _from("training.fit", "show_groups")(options.name, options.layer_decay, options.weight_decay, _say)


def _add_mae(commands: Any) -> None:
    add = commands.add_parser(
        "mae",
        help="pre-train a ViT on pictures without labels",
        description=_MAE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.set_defaults(run=_mae)
    add.add_argument(
        "data", type=Path, metavar="DATA", help="a folder or a zip of pictures; folders in it mean nothing"
    )
    add.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the run; an unfinished one goes on")
    add_options(add, MaskedRecipe)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vitrine-train", description="Train a classifier for build-engines.")
    parser.add_argument("--version", action="version", version=f"vitrine-train {version('vitrine')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser(
        "fit",
        help="train on labelled pictures",
        description=_FIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.set_defaults(run=_fit)
    add.add_argument("data", type=Path, metavar="DATA", help="a folder, a zip or a CSV of labelled pictures")
    add.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the run; an unfinished one goes on")
    add.add_argument("--tensorboard", action="store_true", help="write FOLDER/tensorboard as well")
    add_options(add, Recipe)
    _add_mae(commands)
    add = commands.add_parser("groups", help="print the learning rate and weight decay of each layer of a model")
    add.set_defaults(run=_groups)
    add.add_argument("name", metavar="MODEL", help="timm's name")
    add.add_argument("--layer-decay", type=float, default=0.75, metavar="N", help="(default: %(default)s)")
    add.add_argument("--weight-decay", type=float, default=0.05, metavar="N", help="(default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
