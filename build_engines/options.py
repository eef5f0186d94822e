"""The choices of a plan as options of the command line."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

from build_engines.errors import PlanError
from build_engines.plan import Option, Plan, default_repository, help_of, kind_of, option_of, values_of
from build_engines.trained_folder import completed
from build_engines.values import Compiler, Precision


def add_options(parser: argparse.ArgumentParser) -> None:
    """An argument for each field of `Plan`."""
    exclusive = parser.add_mutually_exclusive_group()
    for each in fields(Plan):
        option = option_of(each.name)
        group = exclusive if option.exclusive else parser
        if each.name == "model":
            parser.add_argument(
                each.name, metavar=option.metavar, nargs="?", default=argparse.SUPPRESS, help=help_of(each.name)
            )
        else:
            flag = option.flag or f"--{each.name.replace('_', '-')}"
            group.add_argument(flag, dest=each.name, default=argparse.SUPPRESS, **_how(each, option))


def add_repository(parser: argparse.ArgumentParser) -> None:
    """The one option that other commands share."""
    each = next(each for each in fields(Plan) if each.name == "repository")
    parser.add_argument("--repository", default=each.default, **_how(each, option_of("repository")))


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options of `add_options` say."""
    given: dict[str, Any] = {
        each.name: value for each in fields(Plan) if (value := getattr(options, each.name, None)) is not None
    }
    convert: dict[str, Callable[[Any], Any]] = {"register": tuple, "notes": _notes}
    for name in given:
        kind = kind_of(name)
        if isinstance(kind, type) and issubclass(kind, Enum):
            convert[name] = kind
    given = {name: convert[name](value) if name in convert else value for name, value in given.items()}
    given.setdefault("repository", default_repository(given.get("compiler", Compiler.NONE)))
    return Plan(**completed(given, Path(given.get("model", ""))))


def _how(each: "Field[Any]", option: Option) -> dict[str, Any]:
    """What argparse is told about a field."""
    kind = kind_of(each.name)
    if kind is bool:
        return {"help": help_of(each.name), "action": "store_false" if each.default else "store_true"}
    told: dict[str, Any] = {
        "help": help_of(each.name) + _default(each),
        "metavar": option.metavar or ("N" if kind in (int, float) else None),
    }
    if values := values_of(kind):
        return {**told, "choices": values}
    if kind in (Path, int, float):
        return {**told, "type": kind}
    if kind in (tuple[float, ...], tuple[int, ...]):
        return {**told, "type": partial(_numbers, get_args(kind)[0])}
    if kind == tuple[Precision, ...]:
        return {**told, "type": _precisions}
    return {**told, "action": "append"} if get_origin(kind) in (tuple, Mapping) else told


def _default(each: "Field[Any]") -> str:
    """The default in words, where the help does not say it and there is one to say."""
    default = each.default
    if isinstance(default, tuple):
        default = ",".join(one.value for one in default)
    if isinstance(default, Enum):
        default = default.value
    return f" (default: {default})" if isinstance(default, str | int | float | Path) and default != "" else ""


def _precisions(text: str) -> tuple[Precision, ...]:
    known = {precision.value: precision for precision in Precision}
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in known]:
        raise PlanError(f"--precision takes {', '.join(known)}, with commas between them; got {unknown[0]!r}")
    return tuple(known[word] for word in words)


def _numbers(kind: type, text: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(word) for word in text.split(","))
    except ValueError:
        example = "1,8,8" if kind is int else "0.5,0.5,0.5"
        raise PlanError(f"write numbers with commas between them, such as {example}; got {text!r}") from None


def _notes(texts: list[str]) -> dict[str, str]:
    notes: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key in notes:
            raise PlanError(f"--note takes KEY=VALUE, each key once; got {text!r}")
        notes[key] = value
    return notes
