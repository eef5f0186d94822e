"""What was measured of a variant."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from build_engines.judge import Accuracy, Race, Timing


@dataclass(frozen=True)
class Table:
    """Rows of text under their headings."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Measured:
    """What was found of a variant. The same inputs, libraries and code find the same, so it is kept in the cache."""

    runtime: str
    """What serves it, in words."""
    graph_size: int
    """Bytes."""
    engine_size: int | None = None
    """Bytes."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each file of a version, by its name."""
    parity: Mapping[str, str] = field(default_factory=dict)
    """Of the FP32 graph with torch."""
    accuracy: Accuracy | None = None
    """None where there were no pictures."""
    accuracy_runtime: str = ""
    """What answered the pictures, in words."""
    race: Race | None = None
    timings: tuple[Timing, ...] = ()
    """Where there is no race."""
    no_race: str = ""
    """Why there is none."""
    sensitivity: Table | None = None
    """What each block costs in accuracy at this precision."""

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Bytes of the graph and of the engine, of those there are."""
        sizes = (("graph", self.graph_size), ("engine", self.engine_size))
        return tuple((what, size) for what, size in sizes if size is not None)

    @property
    def speeds(self) -> tuple[Timing, ...]:
        """Its own timings as they were measured."""
        return self.race.candidate if self.race else self.timings
