"""Two records of one benchmark: what became faster or slower beyond noise.

    python -m benchmarks.compare before.json after.json

Each cell that both have is compared by the ratio of its medians, with a 95 % interval by bootstrap (Efron 1979) of the
raw samples. Samples of one run follow each other on a machine that may have grown slower meanwhile, which the interval
does not know: a difference below --noise is noise whatever it says. Exit code 1 where something is worse or gone.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import Cell, Record, read

RESAMPLES = 2000


class Verdict(NamedTuple):
    """Of one cell."""

    ratio: float
    """The second's median over the first's."""
    low: float
    high: float
    words: str
    """better, worse or within noise."""


def judge(before: Cell, after: Cell, *, less_is_better: bool, noise: float) -> Verdict:
    """Hold the samples of one cell against those of another.

    Args:
        before: what is compared with.
        after: what is judged.
        less_is_better: as for milliseconds.
        noise: the least difference that counts, as a share.
    """
    random = np.random.default_rng(0)

    def medians(samples: tuple[float, ...]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        drawn = random.choice(np.asarray(samples), (RESAMPLES, len(samples)))
        return np.asarray(np.median(drawn, axis=1))

    ratio = after.percentile(50) / before.percentile(50)
    low, high = np.percentile(medians(after.samples) / medians(before.samples), [2.5, 97.5])
    changed = (high < 1 or low > 1) and abs(ratio - 1) > noise
    words = ("better" if (ratio < 1) == less_is_better else "worse") if changed else "within noise"
    return Verdict(ratio, float(low), float(high), words)


def verdicts(before: Record, after: Record, noise: float) -> dict[str, Verdict]:
    """Of each cell that both measured, by its key in words, in the order of the second."""
    known = {_name(cell): cell for cell in before.cells if cell.samples}
    less = after.unit == "ms"
    found = {}
    for cell in after.cells:
        if cell.samples and (name := _name(cell)) in known:
            verdict = judge(known[name], cell, less_is_better=less, noise=noise)
            was, now = _offered(known[name]), _offered(cell)
            if was and not 1 - noise <= now / was <= 1 + noise:
                verdict = verdict._replace(words=f"another rate ({was:.0f}/s, {now:.0f}/s): give both one --rate")
            found[name] = verdict
    return found


def why_not(before: Record, after: Record, *, other_machine: bool) -> str:
    """Why two records cannot be compared; empty where they can."""
    if (before.benchmark, before.unit) != (after.benchmark, after.unit):
        return f"one is of {before.benchmark} ({before.unit}), the other of {after.benchmark} ({after.unit})"
    if differ := [name for name in after.settings if before.settings.get(name) != after.settings[name]]:
        one, two = before.settings.get(differ[0]), after.settings[differ[0]]
        return f"{differ[0]} is {one} in one and {two} in the other"
    if differ := [name for name in ("cpu", "flags", "cpus", "gpu") if before.machine[name] != after.machine[name]]:
        one, two = before.machine[differ[0]], after.machine[differ[0]]
        return "" if other_machine else f"they are of two machines ({one}, {two}); --other-machine compares them"
    if not verdicts(before, after, 0.0):
        return "no cell was measured in both"
    return ""


def gone(before: Record, after: Record) -> list[str]:
    """The cells that were measured before and are not any more, by their keys in words."""
    measured = {_name(cell) for cell in after.cells if cell.samples}
    return [name for cell in before.cells if cell.samples and (name := _name(cell)) not in measured]


def _offered(cell: Cell) -> float:
    """Requests a second of an open load, which decides how long they wait; 0 where it is what was found."""
    return float(cell.facts["rate"]) if str(cell.key.get("load", "")).startswith("open") else 0.0


def _name(cell: Cell) -> str:
    return ", ".join(f"{name} {value}" for name, value in cell.key.items())


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--noise", type=float, default=0.05, help="a difference that says nothing; default: %(default)s"
    )
    parser.add_argument("--other-machine", action="store_true", help="compare records of different machines")
    options = parser.parse_args(arguments)
    console = Console(width=120, highlight=False)
    try:
        before, after = read(options.before), read(options.after)
    except ValueError as error:
        console.print(f"compare: {error}", markup=False, soft_wrap=True)
        return 2
    if reason := why_not(before, after, other_machine=options.other_machine):
        console.print(f"compare: {reason}", markup=False, soft_wrap=True)
        return 2
    table = Table(title=f"{after.benchmark}: {options.after.name} over {options.before.name}, medians in {after.unit}")
    for head in ("cell", "ratio", "95 %", "verdict"):
        table.add_column(head)
    found = verdicts(before, after, options.noise)
    for name, verdict in found.items():
        table.add_row(name, f"{verdict.ratio:.3f}", f"{verdict.low:.3f} to {verdict.high:.3f}", verdict.words)
    lost = gone(before, after)
    for name in lost:
        table.add_row(name, "", "", "not measured any more")
    console.print(table)
    return int(bool(lost) or any(verdict.words == "worse" for verdict in found.values()))


if __name__ == "__main__":
    sys.exit(main())
