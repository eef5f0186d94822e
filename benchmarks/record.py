"""What a benchmark found, with its raw samples, as JSON that `benchmarks.compare` reads."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from contract.cpus import available_cpus

SCHEMA = 1
PROJECT = Path(__file__).resolve().parents[1]
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")
"""The instructions that decide how fast a CPU multiplies; a figure without them says little."""
_LIBRARIES = (
    *("torch", "timm", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "numpy", "pillow", "cykooz-resizer"),
    *("fastapi", "uvicorn", "nvidia-pytriton"),
)

Key = Mapping[str, str | int]


@dataclass(frozen=True)
class Cell:
    """One thing that was measured, or why it was not."""

    key: Key
    """What it is, such as a runtime and a batch size."""
    samples: tuple[float, ...] = ()
    """Each as it was read, in the unit of the record."""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    """What else was found of it."""
    skipped: str = ""
    """Why it was not measured."""

    def percentile(self, percent: float) -> float:
        """Of the samples."""
        return float(np.percentile(self.samples, percent))


@dataclass(frozen=True)
class Record:
    """A benchmark's run on a machine."""

    benchmark: str
    unit: str
    """Of the samples: ms, where less is better, or requests/s, where more is."""
    cells: tuple[Cell, ...]
    settings: Mapping[str, float | str] = field(default_factory=dict)
    """What holds for all cells and was chosen, such as the model."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    date: str = ""
    commit: str = ""
    schema: int = SCHEMA


def recorded(benchmark: str, unit: str, cells: Sequence[Cell], settings: Mapping[str, float | str]) -> Record:
    """The record of what this process measured, here and now."""
    return Record(
        benchmark,
        unit,
        tuple(cells),
        settings,
        machine=this_machine(),
        versions={name: found for name in _LIBRARIES if (found := _installed(name))},
        command=" ".join(("python -m", f"benchmarks.{benchmark}", *_telling(sys.argv[1:]))),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=_commit(),
    )


def write(record: Record, folder: Path) -> Path:
    """Write `BENCHMARK.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.benchmark}.json"
    path.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    return path


def publish(record: Record, folder: Path, text: str, draw: Callable[[Path], None]) -> None:
    """Write the record, its page `text` and what `draw` draws beside each other, and print the page."""
    path = write(record, folder)
    path.with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")
    draw(path.with_suffix(".png"))
    Console(highlight=False).print(text, markup=False, soft_wrap=True)


def read(path: Path) -> Record:
    """What `write` wrote.

    Raises:
        ValueError: it is no such file, or of another version of them.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, not {SCHEMA}")
        cells = tuple(Cell(**{**cell, "samples": tuple(cell["samples"])}) for cell in content["cells"])
        return Record(**{**content, "cells": cells})
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no record of a benchmark ({error}); measure again") from None


def this_machine() -> dict[str, Any]:
    """The CPU, what of it this process may use, its memory, and its first GPU."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    present = said.get("flags", "").split()
    memory = Path("/proc/meminfo").read_text("utf-8").split()[1]
    return {
        "cpu": said.get("model name", platform.processor() or "unknown"),
        "flags": [flag for flag in FLAGS if flag in present],
        "cpus": available_cpus(),
        "memory_gib": round(int(memory) / 2**20, 1),
        "gpu": _gpu(),
    }


def words(record: Record) -> str:
    """The machine, the libraries and the command, for a page."""
    machine = record.machine
    flags = ", ".join(machine["flags"]) or "none of " + ", ".join(FLAGS)
    libraries = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs ({flags}), {machine['memory_gib']:g} GiB, "
        f"{machine['gpu'] or 'no GPU'}; {libraries}; {record.date[:10]}, commit {record.commit or 'unknown'}.\n\n"
        f"```console\n$ {record.command}\n```"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def _telling(arguments: Sequence[str]) -> Sequence[str]:
    """Without the folder that is written to, which is nobody else's."""
    if "--out" not in arguments:
        return arguments
    place = arguments.index("--out")
    return (*arguments[:place], *arguments[place + 2 :])


def _gpu() -> str:
    return _first_line("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    return _first_line("git", "-C", str(PROJECT), "rev-parse", "--short=10", "HEAD")


def _first_line(*command: str) -> str:
    """What a command says; nothing where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.splitlines() or [""])[0]
