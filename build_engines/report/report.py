"""What came of a build, which its page, its chart and its JSON show. No path of this machine belongs in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter

from build_engines.judge import Gate
from build_engines.machine import Machine
from build_engines.pictures import PictureWords
from build_engines.results import Explained, Result
from build_engines.values import Compiler, Precision

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
    origin: Mapping[str, str] = field(default_factory=dict)
    """What the model was made of: its weights, labels and preprocessing."""
    explained: Explained | None = None
    """The companion, where there is one. The reports beside the versions were written before it, and do not say it."""
    schema: Literal[2] = SCHEMA


def to_json(report: Report) -> str:
    """The report as JSON, with the outcome and the reason of each variant; the rest reads back as it was."""
    content = TypeAdapter(Report).dump_python(report, mode="json")
    for row, each in zip(content["variants"], report.variants, strict=True):
        row |= {"outcome": each.outcome.value, "reason": each.reason}
    return json.dumps(content, indent=1, ensure_ascii=False)


def latencies(report: Report, variant: Result) -> dict[int, float]:
    """Milliseconds of a run by batch size, such as can be compared with those of the other variants.

    The load of a shared machine changes from one race to the next, so that medians of different races cannot be
    compared. What was not raced gets the lowest of its medians; from there each race's ratios lead on.
    """
    race = variant.race
    if race is None:
        return _undisturbed(report, variant.compiler, variant.precision)
    rivals = [each for each in report.variants if each.compiler is variant.compiler and each.precision is race.against]
    rival = latencies(report, rivals[0]) if rivals else _undisturbed(report, variant.compiler, race.against)
    times = [(own.batch, own.p50_ms, ratio) for own, ratio in zip(race.candidate, race.ratios, strict=True)]
    return {batch: rival[batch] / ratio if batch in rival else own for batch, own, ratio in times}


def _undisturbed(report: Report, compiler: Compiler, precision: Precision) -> dict[int, float]:
    """The lowest of the medians at each batch size: other work on the machine only ever adds time."""
    lowest: dict[int, float] = {}
    for each in report.variants:
        if each.measured and each.compiler is compiler:
            race = each.measured.race
            raced = race.baseline if race and race.against is precision else ()
            alone = each.measured.timings if each.precision is precision else ()
            for timing in (*raced, *alone):
                lowest[timing.batch] = min(timing.p50_ms, lowest.get(timing.batch, timing.p50_ms))
    return lowest
