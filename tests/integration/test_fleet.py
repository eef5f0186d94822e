"""When one of several goes: nothing but documented answers (docs/scale.md), and how soon all is well."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.integration.fleet import DEADLINE_S, Fleet, fleet, load
from tests.waiting import until

FEW = 3
"""Rounds of the soak."""


@pytest.fixture(scope="module")
def running_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet")) as started:
        yield started


@pytest.fixture
def under_load(running_fleet: Fleet) -> Iterator[Fleet]:
    running_fleet.answers.clear()
    with load(running_fleet):
        yield running_fleet


def kill_triton(one: Fleet) -> set[str]:
    return signalled(one, signal.SIGKILL)


def end_triton(one: Fleet) -> set[str]:
    return signalled(one, signal.SIGTERM)


def signalled(one: Fleet, number: signal.Signals) -> set[str]:
    """Until its supervisor has started it again."""
    triton = one.next_triton().stack
    pid = triton.triton_pid
    assert pid is not None
    os.kill(pid, number)
    until(lambda: triton.triton_pid not in (None, pid))
    return {"triton_unavailable"}


def freeze_triton(one: Fleet) -> set[str]:
    pid = one.next_triton().stack.triton_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    frozen = time.monotonic()
    try:
        one.settled(frozen + 2 * DEADLINE_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    return {"triton_unavailable", "deadline_exceeded"}


def kill_gateway(one: Fleet) -> set[str]:
    one.gateways[0].process.kill()
    one.gateways[0].process.wait()
    time.sleep(1)  # What its supervisor takes.
    one.gateways[0].start()
    return {"lost"}


def freeze_gateway(one: Fleet) -> set[str]:
    """Its clients wait, as nobody answers them; a deadline that passes meanwhile is told when it wakes."""
    one.gateways[0].process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    one.gateways[0].process.send_signal(signal.SIGCONT)
    return {"deadline_exceeded", "triton_unavailable"}


def roll_gateway(one: Fleet) -> set[str]:
    one.gateways[0].process.terminate()
    one.gateways[0].process.wait()
    one.gateways[0].start()
    return {"lost"}  # Between the end of one and the start of the next nobody listens at this port.


def roll_model(one: Fleet) -> set[str]:
    """To version 2 and back, Triton by Triton; each has one of them at a time."""
    for wanted, other in (("2", "1"), ("1", "2")):
        for triton in one.tritons:
            entry = triton.repository / "colours"
            staged = triton.repository.parent / wanted
            shutil.copytree(entry / other, staged)
            staged.rename(entry / wanted)
            if wanted == "1":
                shutil.rmtree(entry / "2")
            time.sleep(1.5)  # A roll takes its time; the Triton polls each second.
        until(lambda wanted=wanted: one.answers[-1].version == wanted)  # type: ignore[misc]
        if wanted == "2":
            for triton in one.tritons:
                shutil.rmtree(triton.repository / "colours" / "1")
    return set()


HARM: list[Callable[[Fleet], set[str]]] = [
    kill_triton,
    end_triton,
    freeze_triton,
    kill_gateway,
    freeze_gateway,
    roll_gateway,
    roll_model,
]


def harmed(one: Fleet, harm: Callable[[Fleet], set[str]]) -> float:
    """Do harm, wait until all is well, and demand that only documented answers were given. Seconds until it was."""
    until(one.is_whole)
    began = time.monotonic()
    allowed = harm(one)
    one.settled(time.monotonic())
    found = one.outcomes(began)
    took = one.well_again(began)
    print(f"{harm.__name__:>15}: well again after {took:5.2f} s; {dict(found)}")  # noqa: T201 (`make soak` shows it)
    assert set(found) - {"ok"} <= allowed, found
    if harm in (kill_gateway, freeze_gateway, roll_gateway):
        assert set(one.outcomes(began, gateway=1)) == {"ok"}, "the other gateway answered all the while"
    return took


def test_a_triton_that_is_killed_costs_only_what_it_had(under_load: Fleet) -> None:
    began = time.monotonic()
    harmed(under_load, kill_triton)
    # Each client had one request at a time, and each gateway's share of them was on the one that died.
    assert under_load.outcomes(began)["triton_unavailable"] <= 2 * 8


def test_a_model_rolls_over_three_tritons_without_an_error(under_load: Fleet) -> None:
    harmed(under_load, roll_model)
    for number in range(2):
        versions = [
            each.version for each in sorted(under_load.answers, key=lambda a: a.ended) if each.gateway == number
        ]
        assert {a for a, b in pairwise(versions)} == {"1", "2"}


@pytest.mark.soak
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_each_kind_of_harm_again_and_again(under_load: Fleet, harm: Callable[[Fleet], set[str]]) -> None:
    for _ in range(FEW):
        harmed(under_load, harm)
