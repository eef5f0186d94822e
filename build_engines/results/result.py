"""What came of a variant: what was measured, decided and published, and how far it came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

from build_engines.judge import Accuracy, Gate, Race, Timing, Verdict, judge
from build_engines.results.measured import Measured
from build_engines.values import Compiler, Precision

COMPILER_WORDS = {Compiler.NONE: "", Compiler.TENSORRT: ", TensorRT", Compiler.RTX: ", TensorRT for RTX"}

Made = TypeVar("Made")
"""What a result is of."""


class Outcome(str, Enum):
    """What became of a variant."""

    PUBLISHED = "published"
    PASSED = "passed"
    """It will be published, but was not yet when this was written."""
    REFUSED = "refused"
    """By the gate."""
    UNCHANGED = "unchanged"
    """Published before from the same inputs."""
    FAILED = "failed"
    """It could not be made, or its answers were no probabilities."""


@dataclass(frozen=True)
class Decision:
    """Whether a variant is published. It follows from what was measured and the gate, and is never cached."""

    verdict: Verdict | None
    """None where there were no pictures to judge by."""
    forced: bool = False
    """It is published although the gate refuses it."""

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it; the next lower precision is then measured against it."""
        return self.verdict is None or self.verdict.passed

    @property
    def publish(self) -> bool:
        """Whether it is published."""
        return self.passed or self.forced


@dataclass(frozen=True)
class Published:
    """A variant in the repository."""

    version: int
    unchanged: bool = False
    """An earlier build published it from the same inputs."""
    warning: str = ""
    """What happened in the running Triton that was asked to load it; empty where all went well or none was asked."""


@dataclass(frozen=True)
class Explained:
    """What came of the entry that explains the others."""

    entry: str
    published: Published
    view: str
    """What the served model does besides, which is not explained; empty where it does nothing besides."""

    @property
    def words(self) -> str:
        """What became of it, in a line."""
        how = "as before, version" if self.published.unchanged else "published as version"
        aside = f"; what {self.view} does besides is not explained" if self.view else ""
        return f"{how} {self.published.version}; explains the others by attention rollout{aside}"


@dataclass(frozen=True)
class Result:
    """What came of one variant; what is None was not reached."""

    entry: str
    precision: Precision
    compiler: Compiler
    measured: Measured | None = None
    decision: Decision | None = None
    published: Published | None = None
    failure: str = ""
    """Why nothing could be measured."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each step took, in order; a step that was done before is missing."""
    attention: bool = False
    """Whether its attention is quantised too."""
    others: tuple[str, ...] = ()
    """What came of the candidates that were not chosen, in words."""

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        if self.decision is None:
            return Outcome.FAILED
        if not self.decision.publish:
            return Outcome.REFUSED
        if self.published is None:
            return Outcome.PASSED
        return Outcome.UNCHANGED if self.published.unchanged else Outcome.PUBLISHED

    @property
    def version(self) -> int | None:
        """Under which it is published."""
        return self.published.version if self.published else None

    @property
    def reason(self) -> str:
        """Why it failed or does not pass the gate."""
        return self.failure or "; ".join(self.verdict.failures if self.verdict else ())

    @property
    def brief(self) -> str:
        """What came of it in a line, for the report of the candidate that was chosen."""
        what = f"with attention in {self.precision.value.upper()}" if self.attention else "with attention in FP16"
        speed = f"{self.race.speedup:.2f} times as fast as {self.race.against.value.upper()}" if self.race else ""
        return ", ".join(filter(None, (what, speed, self.reason or "it passes the gate")))

    @property
    def label(self) -> str:
        """What tells it from the others of its build."""
        return self.precision.value.upper() + COMPILER_WORDS[self.compiler]

    @property
    def verdict(self) -> Verdict | None:
        """What the gate says, where it was asked."""
        return self.decision.verdict if self.decision else None

    @property
    def accuracy(self) -> Accuracy | None:
        """Where it was measured."""
        return self.measured.accuracy if self.measured else None

    @property
    def race(self) -> Race | None:
        """Where there was one."""
        return self.measured.race if self.measured else None

    @property
    def speeds(self) -> tuple[Timing, ...]:
        """Its own timings as they were measured."""
        return self.measured.speeds if self.measured else ()

    @property
    def forced(self) -> bool:
        """Published although the gate refuses it."""
        return self.decision is not None and self.decision.forced


def decide(measured: Measured, gate: Gate, *, force: bool) -> Decision:
    """Hold what was measured to `gate`."""
    if measured.accuracy is None:
        return Decision(None)
    verdict = judge(measured.accuracy, measured.race, gate, no_race=measured.no_race)
    return Decision(verdict, forced=force and not verdict.passed)


def best(candidates: Sequence[tuple[Made, Result]]) -> tuple[Made, Result]:
    """The candidate of one precision to go on with: one that passes the gate, of two that do the faster.

    Where none passes it is the first that could be made. Its result says what came of the others.
    """

    def rank(candidate: tuple[Made, Result]) -> tuple[bool, bool, float]:
        result = candidate[1]
        passed = result.decision is not None and result.decision.passed
        return passed, result.decision is not None, result.race.speedup if passed and result.race else 0.0

    (made, result), *others = sorted(candidates, key=rank, reverse=True)
    return made, replace(result, others=tuple(other.brief for _, other in others))
