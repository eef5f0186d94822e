"""What the plan counts, and that the simulation of a machine is of one mind with arithmetic."""

from dataclasses import replace

import pytest

from benchmarks.capacity import Assumptions, Costs, cell, cores_for, highest_load, on_this_machine, plan
from benchmarks.simulation import Model

SMALL = Assumptions(gpu_rate=1000.0, gpu_fixed=0.002, max_batch=32)


def test_a_quiet_machine_takes_what_a_picture_costs() -> None:
    costs = Costs(cores=2, client=0.001, loop=0.002, decode=0.004, model=Model(0.006, 0.002, 8, width=2.0))
    outcome = on_this_machine(costs, rate=0.5, requests=500, capacity=64)
    assert outcome.percentile(50) == pytest.approx(0.001 + 0.002 + 0.004 + 0.008 / 2, rel=0.1)


def test_more_load_takes_longer_and_more_than_there_is_is_refused() -> None:
    costs = Costs(cores=2, client=0, loop=0.002, decode=0.004, model=Model(0, 0.004, 8))
    p99 = [on_this_machine(costs, rate, 3000, 64).percentile(99) for rate in (20, 100, 180)]
    assert p99 == sorted(p99)
    assert on_this_machine(costs, 400, 3000, 64).refused > 1000


def test_a_cell_keeps_up_and_its_batches_wait_no_longer_than_they_may() -> None:
    quiet = cell(SMALL, 0.05, 1000)
    assert not quiet.refused
    assert quiet.percentile(50) < SMALL.delay + SMALL.gpu_fixed + 0.02
    assert cell(SMALL, 1.5, 6000).percentile(99) > quiet.percentile(99)


def test_the_highest_load_keeps_the_promise() -> None:
    load = highest_load(SMALL, (0.9, 0.6, 0.3))
    assert load
    assert cell(SMALL, load).percentile(99) <= SMALL.promised
    assert highest_load(replace(SMALL, promised=0.001), (0.3,)) == 0.0


def test_a_plan_is_arithmetic() -> None:
    found = plan(SMALL, rate=10_000, load=0.5)
    assert found.gpus == 20 + 1
    assert found.cores == pytest.approx(cores_for(SMALL, 10_000), abs=2) == 72
    assert found.workers == 36
    assert found.gateway_bits == 10_000 * 107_000 * 8
    assert found.gpu_bits == 500 * 224 * 224 * 3 * 8
    assert found.calls == 36 * 21 * 3
    assert found.dollars_hour == pytest.approx(21 * 4 + 72 * 0.045)
