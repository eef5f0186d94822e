"""The rate of a key: its burst, its pace, and processes that share it."""

import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from service.rates import Cells, Rate


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 10), (2.5, 2), (1.0, 1), (0.5, 1)])
def test_a_seconds_worth_at_once_and_then_its_pace(rate: float, burst: int) -> None:
    now = [50.0]
    limit = Rate(rate, Cells(1), 0, lambda: now[0])
    granted = 0
    while (wait := limit.take()) == 0:
        granted += 1
    assert granted == burst
    for _ in range(20):
        assert limit.take() == pytest.approx(wait), "to be refused costs nothing"
        now[0] += wait + 1e-6
        assert limit.take() == 0
        wait = limit.take()
        assert 0 < wait <= 1 / rate + 1e-6


def test_rates_in_one_file_do_not_touch_each_other(tmp_path: Path) -> None:
    cells = Cells(2, tmp_path / "rates")
    first, second = (Rate(1.0, cells, number, lambda: 9.0) for number in range(2))
    assert first.take() == 0
    assert first.take() > 0
    assert second.take() == 0


def use(path: Path, granted: "multiprocessing.Queue[int]", seconds: float) -> None:
    """Ask as often as possible for a while; say so, and then how often it was granted."""
    granted.put(0)
    limit = Rate(100.0, Cells(1, path), 0)
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        count += limit.take() == 0
    granted.put(count)


def test_four_processes_get_what_one_would_get_also_where_one_is_killed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    granted, begun = spawn.Queue(), spawn.Queue()
    start = time.monotonic()
    processes = [spawn.Process(target=use, args=(tmp_path / "rates", granted, 1.5)) for _ in range(3)]
    victim = spawn.Process(target=use, args=(tmp_path / "rates", begun, 60.0))
    for process in (victim, *processes):
        process.start()
    begun.get(timeout=60)
    victim.join(0.2)
    victim.kill()
    victim.join()
    total = sum(granted.get(timeout=60) for _ in range(2 * len(processes)))
    most = 100 * (time.monotonic() - start + 1)
    for process in processes:
        process.join()
    assert victim.exitcode == -signal.SIGKILL
    assert 0 < total <= most
