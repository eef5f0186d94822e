"""What an engine was made with and what it runs on: its stamp, in the provenance of its entry."""

from collections.abc import Mapping
from dataclasses import dataclass

STAMP = "engine."
"""What the keys of a stamp start with, in the provenance and behind `build.` in a configuration."""


@dataclass(frozen=True)
class Target:
    """What an engine runs on: with any other it does not load."""

    compiler: str
    version: str
    compute_capability: str

    def __str__(self) -> str:
        return f"{self.compiler} {self.version}, compute capability {self.compute_capability}"


def target_of(stamp: Mapping[str, str]) -> Target | None:
    """What the engine with this stamp runs on; None where it is no engine's stamp. Other keys may be among it."""
    parts = [stamp.get(f"{STAMP}{key}") for key in ("compiler", "version", "compute_capability")]
    known = [part for part in parts if part]
    return Target(*known) if len(known) == len(parts) else None
