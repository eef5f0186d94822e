"""The stopwatch."""

import time

import pytest

from service.stages import Stages


def test_a_stage_is_timed_also_when_it_fails() -> None:
    stages = Stages()
    with pytest.raises(ValueError, match="broken"), stages.timed("decode"):
        raise ValueError("broken")
    assert stages.seconds["decode"] > 0
    assert stages.total() >= stages.seconds["decode"]


def test_work_side_by_side_adds_up_to_the_time_it_took() -> None:
    stages = Stages()
    started = time.perf_counter()
    with stages.side_by_side(2, rest="wait") as (one, two):
        with one.timed("decode"):
            time.sleep(0.02)
        with two.timed("resize"):
            time.sleep(0.01)
    passed = time.perf_counter() - started
    assert stages.seconds["decode"] == pytest.approx(one.seconds["decode"] / 2)
    assert stages.seconds["resize"] == pytest.approx(two.seconds["resize"] / 2)
    assert sum(stages.seconds.values()) == pytest.approx(passed, abs=0.005)


def test_server_timing_is_in_milliseconds_and_ends_with_the_total() -> None:
    stages = Stages()
    with stages.timed("receive"), stages.timed("decode"):
        time.sleep(0.002)
    parts = [part.split(";dur=") for part in stages.server_timing().split(", ")]
    assert [name for name, _ in parts] == ["decode", "receive", "total"]
    assert all(2.0 <= float(milliseconds) < 1000 for _, milliseconds in parts)


def test_a_thread_that_is_late_does_not_disturb_who_reads() -> None:
    stages = Stages()
    with stages.timed("receive"):
        pass
    for _ in stages.seconds:
        with stages.timed("decode"):
            pass
    assert list(stages.seconds) == ["receive", "decode"]
