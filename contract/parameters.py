"""The only code that knows the `contract.*` keys of a Triton model configuration, both ways.

Triton's `parameters` are a flat map of strings. What Triton's own fields say (names, types, dims, batch size) is not
said again here; the rest is:

    contract.schema          "1"
    contract.crop_pct        input size over resize size, a decimal
    contract.crop_mode       center | squash | border
    contract.interpolation   nearest | box | bilinear | hamming | bicubic | lanczos
    contract.fill            "r,g,b"; with crop mode border only
    contract.labels          a JSON list of strings, one for each class
    build.<anything>         provenance

and of a companion, which explains what other entries answer (`contract.spec.Rollout`):

    contract.explains           a JSON list of the names of these entries
    contract.explains_weights   their build.weights_sha256
    contract.explains_discard   the share of the weakest attention that is left out; optional
"""

import json
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from contract.spec import ContractError, CropMode, Entry, Interpolation, Preprocessing, Rollout

SCHEMA = "1"
PREFIX = "contract."
BUILD_PREFIX = "build."
_REQUIRED = frozenset({"schema", "crop_pct", "crop_mode", "interpolation", "labels"})
_EXPLAINS = ("explains", "explains_weights", "explains_discard")
_OPTIONAL = frozenset({"fill", *_EXPLAINS})

_Choice = TypeVar("_Choice", bound=Enum)


def is_ours(parameters: Mapping[str, str]) -> bool:
    """Whether the configuration claims to be an entry of Vitrine's."""
    return f"{PREFIX}schema" in parameters


def write_parameters(entry: Entry) -> dict[str, str]:
    """The entry's `contract.*` and `build.*` parameters."""
    preprocessing = entry.preprocessing
    parameters = {
        f"{PREFIX}schema": SCHEMA,
        f"{PREFIX}crop_pct": repr(preprocessing.crop_pct),
        f"{PREFIX}crop_mode": preprocessing.crop_mode.value,
        f"{PREFIX}interpolation": preprocessing.interpolation.value,
        f"{PREFIX}labels": json.dumps(entry.labels, ensure_ascii=False),
    }
    if preprocessing.crop_mode is CropMode.BORDER:
        parameters[f"{PREFIX}fill"] = ",".join(str(level) for level in preprocessing.fill)
    if (rollout := entry.explains) is not None:
        parameters[f"{PREFIX}explains"] = json.dumps(rollout.entries)
        parameters[f"{PREFIX}explains_weights"] = rollout.weights_sha256
        if rollout.discard:
            parameters[f"{PREFIX}explains_discard"] = repr(rollout.discard)
    return parameters | {f"{BUILD_PREFIX}{key}": value for key, value in entry.build.items()}


def is_companion(parameters: Mapping[str, str]) -> bool:
    """Whether an entry of ours explains what others answer."""
    return f"{PREFIX}explains" in parameters


def read_parameters(  # noqa: PLR0913 (what Triton's own fields say)
    parameters: Mapping[str, str],
    *,
    name: str,
    height: int,
    width: int,
    max_batch_size: int,
    attention: tuple[int, int, int, int] | None = None,
) -> Entry:
    """The entry that `parameters` and Triton's own fields describe together.

    `attention` is a companion's layers, heads, rows and columns.

    Raises:
        ContractError: a key is missing, unknown or wrong; the message starts with that key.
    """
    ours = {key.removeprefix(PREFIX): value for key, value in parameters.items() if key.startswith(PREFIX)}
    if ours.get("schema") != SCHEMA:
        raise ContractError(
            f"{PREFIX}schema", f"this Vitrine reads {SCHEMA!r}, the entry has {ours.get('schema')!r}; rebuild the entry"
        )
    for key in sorted(_REQUIRED - ours.keys()):
        raise ContractError(PREFIX + key, "is missing")
    for key in _EXPLAINS[1:] if "explains" not in ours else ():
        if key in ours:
            raise ContractError(PREFIX + key, f"needs {PREFIX}explains")
    if "explains" in ours and "explains_weights" not in ours:
        raise ContractError(f"{PREFIX}explains_weights", "is missing")
    for key in sorted(ours.keys() - _REQUIRED - _OPTIONAL):
        raise ContractError(PREFIX + key, f"is not a key of schema {SCHEMA}")
    try:
        return Entry(
            name=name,
            preprocessing=Preprocessing(
                height=height,
                width=width,
                crop_pct=_decimal("crop_pct", ours["crop_pct"]),
                crop_mode=_choice("crop_mode", ours["crop_mode"], CropMode),
                interpolation=_choice("interpolation", ours["interpolation"], Interpolation),
                fill=_colour("fill", ours["fill"]) if "fill" in ours else (0, 0, 0),
            ),
            labels=_strings("labels", ours["labels"]),
            max_batch_size=max_batch_size,
            build={
                key.removeprefix(BUILD_PREFIX): value
                for key, value in parameters.items()
                if key.startswith(BUILD_PREFIX)
            },
            explains=_rollout(ours, attention) if attention else None,
        )
    except ContractError as error:
        if error.key in _REQUIRED | _OPTIONAL:
            raise ContractError(PREFIX + error.key, str(error).removeprefix(f"{error.key}: ")) from None
        raise


def _rollout(ours: Mapping[str, str], attention: tuple[int, int, int, int]) -> Rollout:
    layers, heads, rows, columns = attention
    return Rollout(
        entries=_strings("explains", ours["explains"]),
        weights_sha256=ours["explains_weights"],
        layers=layers,
        heads=heads,
        rows=rows,
        columns=columns,
        discard=_decimal("explains_discard", ours.get("explains_discard", "0")),
    )


def _decimal(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ContractError(key, f"must be a decimal, is {text!r}") from None


def _choice(key: str, text: str, choices: type[_Choice]) -> _Choice:
    try:
        return choices(text)
    except ValueError:
        known = ", ".join(str(choice.value) for choice in choices)
        raise ContractError(key, f"must be one of {known}; is {text!r}") from None


def _colour(key: str, text: str) -> tuple[int, int, int]:
    try:
        red, green, blue = (int(level) for level in text.split(","))
    except ValueError:
        raise ContractError(key, f'must be "r,g,b", is {text!r}') from None
    return red, green, blue


def _strings(key: str, text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # The latter of lists nested a thousand deep.
        raise ContractError(key, "must be a JSON list of strings; is not JSON") from None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ContractError(key, "must be a JSON list of strings")
    return tuple(found)
