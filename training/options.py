"""The choices of a recipe as options of the command line. Knows no torch."""

import argparse
from dataclasses import Field, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from training.masked_autoencoder.recipe import MaskedRecipe
from training.recipe import Recipe

Choices = TypeVar("Choices", Recipe, MaskedRecipe)


def add_options(parser: argparse.ArgumentParser, kind: type[Recipe] | type[MaskedRecipe]) -> None:
    """An argument for each field of a kind of recipe."""
    hints = get_type_hints(kind)
    for each in fields(kind):
        flag = each.metadata.get("flag", f"--{each.name.replace('_', '-')}")
        parser.add_argument(flag, dest=each.name, default=argparse.SUPPRESS, **_how(each, hints[each.name]))


def recipe_of(options: argparse.Namespace, kind: type[Choices]) -> Choices:
    """The recipe that the options of `add_options` say."""
    given: dict[str, Any] = {
        each.name: getattr(options, each.name) for each in fields(kind) if hasattr(options, each.name)
    }
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return kind(**given)


def _how(each: "Field[Any]", hint: Any) -> dict[str, Any]:
    kind = next((one for one in get_args(hint) if one is not NoneType), hint)
    words = each.metadata["help"]
    if get_origin(hint) is tuple:
        return {"help": words, "action": "append", "metavar": each.metadata["metavar"]}
    if kind is bool:
        if each.default is True:
            return {"help": words, "action": "store_false"}
        return {"help": f"{words} (default: by the pictures)", "action": argparse.BooleanOptionalAction}
    if "choices" in each.metadata:
        return {"help": f"{words} (default: {each.default})", "choices": each.metadata["choices"]}
    told: dict[str, Any] = {"type": kind, "metavar": each.metadata.get("metavar", "NAME" if kind is str else "N")}
    if each.default is None and "default" not in words:
        words += " (default: by the pictures)"
    elif each.default not in (None, ""):
        words += f" (default: {each.default if kind is str else format(each.default, 'g')})"
    return {**told, "help": words}
