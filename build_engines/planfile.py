"""A file of plans (TOML), for `build-engines apply`: what a repository shall hold, in a form that is kept and reviewed.

    repository = "model_repository"

    [defaults]
    calibration = "pictures.zip/train"

    [[model]]
    model = "vit_small_patch16_224"
    name = "flowers"
    checkpoint = "flowers.safetensors"
    labels = "flowers.txt"
    precisions = ["fp32", "int8"]

The keys are the fields of `Plan`. Paths are relative to the file.
"""

import difflib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

from build_engines.errors import PlanError
from build_engines.plan import Plan, default_repository, help_of, kind_of, option_of, values_of
from build_engines.trained_folder import completed
from build_engines.values import Compiler

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHARED = tuple(each.name for each in fields(Plan) if option_of(each.name).shared)
"""Keys of the whole file."""
_WORDS = {
    Path: "a path in quotes",
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def read_plans(path: Path) -> tuple[Plan, ...]:
    """The plans in the file `path`, in its order.

    Raises:
        PlanError: the file cannot be read, or a key or value is wrong; the message says where.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path} is not TOML: {error}") from None
    _known(path.name, content, (*_SHARED, "defaults", "model"))
    tables = content.get("model")
    if not isinstance(tables, list) or not tables:
        raise PlanError(f"{path.name}: write a [[model]] table for each model to build")
    if not all(isinstance(table, dict) for table in tables):
        raise PlanError(f"{path.name}: write [[model]] above the keys of each model, not model = [...]")
    shared = {key: content[key] for key in _SHARED if key in content}
    defaults = content.get("defaults", {})
    if not isinstance(defaults, dict):
        raise PlanError(f"{path.name}: [defaults] must be a table")
    plans = [
        _plan(f"{path.name}: [[model]] {number}", {**shared, **defaults, **table}, path.parent)
        for number, table in enumerate(tables, start=1)
    ]
    _each_once(path, plans)
    return tuple(plans)


def _plan(where: str, table: Mapping[str, object], folder: Path) -> Plan:
    choices = [field.name for field in fields(Plan)]
    _known(where, table, choices)
    if "model" not in table and "checkpoint" not in table:
        raise PlanError(f'{where}: say which timm model: model = "vit_tiny_patch16_224"')
    try:
        given = {key: _value(f"{where}: {key}", value, kind_of(key), folder) for key, value in table.items()}
        given.setdefault("repository", folder / default_repository(given.get("compiler", Compiler.NONE)))
        return Plan(**completed(given, folder / given.get("model", "")))
    except PlanError as error:
        raise PlanError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None


def _known(where: str, table: Mapping[str, object], choices: "tuple[str, ...] | list[str]") -> None:
    for key in table:
        if key not in choices:
            close = difflib.get_close_matches(key, choices, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(choices)}"
            raise PlanError(f"{where}: there is no key {key!r}; {hint}")


def _value(where: str, value: object, kind: Any, folder: Path) -> Any:
    """A TOML value as `Plan` wants it, whose field has the type `kind`."""
    origin = get_origin(kind)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(where, each, get_args(kind)[0], folder) for each in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _value(f"{where}.{key}", each, str, folder) for key, each in value.items()}
    if kind is Path and isinstance(value, str):
        return folder / Path(value).expanduser()
    if (choices := values_of(kind)) and isinstance(value, str):
        if value not in choices:
            raise PlanError(f"{where} must be one of {', '.join(choices)}; is {value!r}")
        return kind(value) if isinstance(kind, type) else value
    if kind in (str, int, float, bool) and type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise PlanError(f"{where} must be {_words(kind)}; is {value!r}")


def _words(kind: Any) -> str:
    """What a key whose field has the type `kind` takes."""
    if kind in _WORDS:
        return _WORDS[kind]
    return " or ".join(map(repr, values_of(kind))) or ("a list" if get_origin(kind) is tuple else "a table")


def plan_keys() -> Iterator[tuple[str, str, str, str]]:
    """For the documentation: each key, what it takes, its default, and its meaning."""
    for each in fields(Plan):
        default, meaning = each.default, help_of(each.name)
        if default is True:
            meaning = f"false: {meaning}"
        if isinstance(default, tuple):
            default = [one.value for one in default]
        if isinstance(default, Enum):
            default = default.value
        said = (
            ""
            if default in (MISSING, None, "", [])
            else str(default).lower()
            if default in (True, False)
            else str(default)
        )
        yield each.name, _words(kind_of(each.name)), said, meaning


def _each_once(path: Path, plans: list[Plan]) -> None:
    seen: dict[tuple[Path, str], int] = {}
    for number, plan in enumerate(plans, start=1):
        for name in plan.entry_names:
            first = seen.setdefault((plan.repository, name), number)
            if first != number:
                raise PlanError(
                    f"{path.name}: [[model]] {first} and {number} both build {name!r}; give one of them another name"
                )
