"""Faster and slower are said only beyond noise."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import judge, main, verdicts, why_not
from benchmarks.record import Cell, Record, recorded, write

STEADY = (10.0, 10.1, 9.9, 10.0, 10.05, 9.95)
WILD = (5.0, 20.0, 9.0, 11.0, 30.0, 7.0)


def cell(samples: tuple[float, ...], factor: float = 1.0) -> Cell:
    return Cell({"batch": 1}, tuple(factor * each for each in samples))


def one(samples: tuple[float, ...], factor: float = 1.0, unit: str = "ms") -> Record:
    return recorded("runtimes", unit, [cell(samples, factor)], {"model": "vit"})


@pytest.mark.parametrize(
    ("samples", "factor", "less_is_better", "words"),
    [
        (STEADY, 0.8, True, "better"),
        (STEADY, 1.25, True, "worse"),
        (STEADY, 1.25, False, "better"),
        (STEADY, 0.8, False, "worse"),
        (STEADY, 1.0, True, "within noise"),
        (STEADY, 1.04, True, "within noise"),
        (WILD, 1.25, True, "within noise"),
    ],
)
def test_the_verdict(samples: tuple[float, ...], factor: float, less_is_better: bool, words: str) -> None:
    found = judge(cell(samples), cell(samples, factor), less_is_better=less_is_better, noise=0.05)
    assert found.words == words
    assert found.ratio == pytest.approx(factor)
    assert found.low <= found.ratio <= found.high


def test_only_cells_that_both_measured_are_compared() -> None:
    before, after = one(STEADY), one(STEADY)
    after = replace(after, cells=(*after.cells, Cell({"batch": 2}, STEADY), Cell({"batch": 4}, skipped="too slow")))
    assert list(verdicts(before, after, 0.05)) == ["batch 1"]


def test_open_loads_of_another_rate_are_no_pair() -> None:
    def load(name: str, rate: float, factor: float) -> Record:
        samples = tuple(factor * each for each in STEADY)
        return recorded("serving", "ms", [Cell({"load": name}, samples, {"rate": rate})], {"model": "vit"})

    slower = verdicts(load("open, 80%", 128, 1), load("open, 80%", 256, 3), 0.05)
    assert slower["load open, 80%"].words == "another rate (128/s, 256/s): give both one --rate"
    assert verdicts(load("open, 80%", 128, 1), load("open, 80%", 130, 3), 0.05)["load open, 80%"].words == "worse"
    assert verdicts(load("closed, 8", 128, 1), load("closed, 8", 256, 3), 0.05)["load closed, 8"].words == "worse"


def test_other_benchmarks_machines_and_settings_are_no_pair() -> None:
    found = one(STEADY)
    other = replace(found, machine={**found.machine, "cpus": 1000})
    assert why_not(found, found, other_machine=False) == ""
    assert "of serving" in why_not(found, replace(found, benchmark="serving"), other_machine=True)
    assert "two machines" in why_not(found, other, other_machine=False)
    assert why_not(found, other, other_machine=True) == ""
    for machine in (found, other):
        assert why_not(found, replace(machine, settings={"model": "x"}), other_machine=True) == (
            "model is vit in one and x in the other"
        )
    apart = replace(found, cells=(Cell({"batch": 2}, STEADY),))
    assert why_not(found, apart, other_machine=False) == "no cell was measured in both"


def test_the_command_says_what_became_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = str(write(one(STEADY), tmp_path / "a"))
    slower, same = (str(write(one(STEADY, factor), tmp_path / name)) for name, factor in (("b", 1.5), ("c", 1.0)))
    assert main([before, slower]) == 1
    assert "worse" in capsys.readouterr().out
    assert main([before, same]) == 0
    assert "within noise" in capsys.readouterr().out
    both = replace(one(STEADY), cells=(cell(STEADY), Cell({"batch": 2}, STEADY)))
    assert main([str(write(both, tmp_path / "d")), same]) == 1
    assert "not measured any more" in capsys.readouterr().out
    assert main([before, str(tmp_path / "missing.json")]) == 2
    assert "measure again" in capsys.readouterr().out
