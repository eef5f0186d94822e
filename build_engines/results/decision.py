"""What was decided about a variant."""

from dataclasses import dataclass

from build_engines.judge import Gate, Verdict, judge
from build_engines.results.measured import Measured


@dataclass(frozen=True)
class Decision:
    """Whether a variant is published. Follows from what was measured and the gate, each time anew."""

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


def decide(measured: Measured, gate: Gate, *, force: bool) -> Decision:
    """Hold what was measured to `gate`."""
    if measured.accuracy is None:
        return Decision(None)
    verdict = judge(measured.accuracy, measured.race, gate, no_race=measured.no_race)
    return Decision(verdict, forced=force and not verdict.passed)
