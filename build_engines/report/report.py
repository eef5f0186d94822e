"""What came of a build, which its page, its chart and its JSON show. No path of this machine belongs in it."""

import json
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from build_engines.judge import Gate
from build_engines.machine import Machine
from build_engines.pictures import PictureWords
from build_engines.results import Result

SCHEMA: Literal[2] = 2
"""Of the JSON; another one where a field changes its meaning or goes."""


@dataclass(frozen=True)
class Report:
    """What came of a build."""

    model: str
    """timm's name."""
    entry: str
    """The base of the entries' names."""
    date: str
    """ISO 8601, UTC."""
    max_batch_size: int
    machine: Machine
    gate: Gate
    calibration: PictureWords | None
    evaluation: PictureWords | None
    variants: tuple[Result, ...]
    schema: Literal[2] = SCHEMA


def to_json(report: Report) -> str:
    """The report as JSON, with the outcome and the reason of each variant; the rest reads back as it was."""
    content = TypeAdapter(Report).dump_python(report, mode="json")
    for row, each in zip(content["variants"], report.variants, strict=True):
        row |= {"outcome": each.outcome.value, "reason": each.reason}
    return json.dumps(content, indent=1, ensure_ascii=False)
