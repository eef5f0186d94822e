"""The choices of a recipe as options of the command line. Knows no torch."""

import argparse
from dataclasses import Field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from training.recipe import Recipe

_HINTS = get_type_hints(Recipe)


def add_options(parser: argparse.ArgumentParser) -> None:
    """An argument for each field of `Recipe`."""
    for each in fields(Recipe):
        flag = each.metadata.get("flag", f"--{each.name.replace('_', '-')}")
        parser.add_argument(flag, dest=each.name, default=argparse.SUPPRESS, **_how(each))


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that the options of `add_options` say."""
    given: dict[str, Any] = {
        each.name: getattr(options, each.name) for each in fields(Recipe) if hasattr(options, each.name)
    }
    if "register" in given:
        given["register"] = tuple(given["register"])
    return Recipe(**given)


def _how(each: "Field[Any]") -> dict[str, Any]:
    hint = _HINTS[each.name]
    kind = next((one for one in get_args(hint) if one is not NoneType), hint)
    words = each.metadata["help"]
    if each.name == "register":
        return {"help": words, "action": "append", "metavar": each.metadata["metavar"]}
    if kind is bool:
        if each.default is True:
            return {"help": words, "action": "store_false"}
        return {"help": f"{words} (default: by the pictures)", "action": argparse.BooleanOptionalAction}
    if "choices" in each.metadata:
        return {"help": f"{words} (default: {each.default})", "choices": each.metadata["choices"]}
    told: dict[str, Any] = {"type": kind, "metavar": each.metadata.get("metavar", "NAME" if kind is str else "N")}
    if each.default is None and "default" not in words and each.name != "image_size":
        words += " (default: by the pictures)"
    elif each.default not in (None, ""):
        words += f" (default: {each.default:g})"
    return {**told, "help": words}
