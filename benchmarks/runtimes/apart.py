"""Starts the process that times a model in a runtime, and reads what it says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.record import Cell

_START_SECONDS = 600
"""For a process to import, export, compile."""


class Bounds(NamedTuple):
    """What is timed, and for how long."""

    batches: tuple[int, ...]
    seconds: float
    """For each cell; more where three runs take longer."""
    limit: float
    """Seconds; a cell of which three runs would take longer is left out."""


def cells_of(runtime: str, model: str, folder: Path, bounds: Bounds) -> Iterator[Cell]:
    """Each batch size in one runtime; a runtime that does not run has one cell that says why."""
    chosen = ("--batches", *map(str, bounds.batches), "--seconds", str(bounds.seconds), "--limit", str(bounds.limit))
    command = [sys.executable, "-m", "benchmarks.runtimes.timed", runtime, model, str(folder), *chosen]
    longest = _START_SECONDS + len(bounds.batches) * (bounds.seconds + 2 * bounds.limit)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
    ended = ""
    try:
        said, errors = process.communicate(timeout=longest)
    except subprocess.TimeoutExpired:
        process.kill()
        said, errors = process.communicate()
        ended = f"it was ended after {longest:.0f} s"
    for line in said.splitlines():
        if not line.startswith("{"):  # Some library's own words.
            continue
        found = json.loads(line)
        if reason := found.get("why_not"):
            yield Cell({"runtime": runtime}, skipped=reason)
            return
        facts = {name: found[name] for name in ("peak_mb", "agreement", "furthest")}
        yield Cell({"runtime": runtime, "batch": found["batch"]}, tuple(found["samples"]), facts, found["skipped"])
    if process.returncode:
        last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        yield Cell({"runtime": runtime}, skipped=ended or f"it failed: {last[:200]}")
