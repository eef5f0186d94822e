"""Which of two measurements is better."""

import pytest

from build_engines.errors import PlanError
from build_engines.repository import Tuned
from build_engines.tune import Load, Measurement
from contract.config import Scheduling

NOW = Measurement(Tuned(Scheduling(), 32), alone_ms=30.0, rate=40.0, p99_ms=800.0)


@pytest.mark.parametrize(
    ("alone_ms", "rate", "p99_ms", "better"),
    [
        (30.0, 44.0, 800.0, True),
        (25.0, 40.0, 800.0, True),
        (31.0, 46.0, 900.0, True),
        (30.0, 41.5, 800.0, False),
        (30.0, 40.0, 400.0, False),
        (45.0, 60.0, 700.0, False),
        (20.0, 36.0, 800.0, False),
        (30.0, 44.0, 1200.0, False),
    ],
    ids=[
        "faster at load",
        "faster alone",
        "faster at load, as fast alone within the noise",
        "no faster beyond the noise",
        "only less late",
        "faster at load, slower alone",
        "faster alone, slower at load",
        "faster at load, and much later at times",
    ],
)
def test_a_scheduling_is_better_where_it_gains_and_loses_nothing(
    alone_ms: float, rate: float, p99_ms: float, better: bool
) -> None:
    assert Measurement(NOW.tuned, alone_ms, rate, p99_ms).better_than(NOW) is better


@pytest.mark.parametrize("given", [{"connections": 0}, {"seconds": 0.0}, {"seconds": float("inf")}])
def test_a_load_of_nothing_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(PlanError, match="--connections"):
        Load(**given)  # type: ignore[arg-type]
