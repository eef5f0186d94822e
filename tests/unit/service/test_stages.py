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


def test_the_rest_is_what_the_other_stages_did_not_take() -> None:
    stages = Stages()
    with stages.timed("receive"):
        pass
    with stages.rest("wait"):
        with stages.timed("decode"):
            time.sleep(0.02)
        time.sleep(0.01)
    assert stages.seconds["wait"] >= 0.01
    assert stages.seconds["wait"] + stages.seconds["decode"] < stages.total()


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
