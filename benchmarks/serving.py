"""The whole service under closed and open load, for several windows in which a batch gathers.

    python -m benchmarks.serving --model cifar10_vit

Goodput is the highest of the tried rates at which 99 % of the requests take at most --limit-ms and none is refused. The
rates are shares of what 32 connections get with the first window, or of --rate, which runs that are to be compared
share. The load comes from the CPUs that serve, so a machine that is asked from outside gives more.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks import record
from benchmarks.load import Load, Server, closed_loop, open_loop
from benchmarks.record import Cell, Record
from contract.config import CONFIG_FILE, from_pbtxt, to_pbtxt
from embedded.supervisor import Options, Stack

PROJECT = Path(__file__).resolve().parents[1]
WINDOWS = [0, 1, 2, 5, 10, 20]
SHARES = (0.2, 0.4, 0.6, 0.8)
CONNECTIONS = (1, 8, 32)
_WARM_SECONDS = 1.0


def with_window(entry: Path, milliseconds: int, repository: Path) -> None:
    """Put a copy of `entry` into the empty folder `repository`, whose batches gather for so long."""
    copy = repository / entry.name
    shutil.copytree(entry, copy)
    for path in copy.rglob(CONFIG_FILE):
        config = from_pbtxt(path.read_text("utf-8"))
        config.dynamic_batching.max_queue_delay_microseconds = 1000 * milliseconds
        path.write_text(to_pbtxt(config), encoding="utf-8")


async def measured(server: Server, photo: bytes, seconds: float, rate: float) -> tuple[list[tuple[str, Load]], float]:
    """What each load came to, and the rate that the open ones are shares of: `rate`, or what is found where it is 0."""
    await closed_loop(server, photo, 8, _WARM_SECONDS)
    closed = [(f"closed, {each}", await closed_loop(server, photo, each, seconds)) for each in CONNECTIONS]
    rate = rate or closed[-1][1].rate
    opened = [(f"open, {each:.0%}", await open_loop(server, photo, each * rate, seconds)) for each in SHARES]
    return [*closed, *opened], rate


def cell(window: int, name: str, load: Load) -> Cell:
    """What is kept of one load."""
    facts = {"rate": load.rate, "refused": float(load.refused)}
    return Cell({"window_ms": window, "load": name}, load.samples_ms, facts)


def goodput(cells: Sequence[Cell], limit_ms: float) -> float:
    """The highest rate of open load that was answered in time; 0 where none was."""
    good = [
        float(each.facts["rate"])
        for each in cells
        if str(each.key["load"]).startswith("open") and not each.facts["refused"] and each.percentile(99) <= limit_ms
    ]
    return max(good, default=0.0)


def page(found: Record, limit_ms: float) -> str:
    """As Markdown."""
    windows = dict.fromkeys(int(each.key["window_ms"]) for each in found.cells)
    rows = [
        (
            str(each.key["window_ms"]),
            str(each.key["load"]),
            f"{float(each.facts['rate']):.0f}",
            *(f"{each.percentile(percent):.1f}" for percent in (50, 90, 99)),
            f"{float(each.facts['refused']):.0f}",
        )
        for each in found.cells
    ]
    good = [
        (str(window), f"{goodput([each for each in found.cells if each.key['window_ms'] == window], limit_ms):.0f}")
        for window in windows
    ]
    heads = ("window ms", "load", "requests/s", "p50 ms", "p90 ms", "p99 ms", "refused")
    return "\n\n".join(
        (
            f"# Serving: {found.settings['model']}",
            record.words(found),
            record.table(("window ms", f"goodput, requests/s with p99 <= {limit_ms:g} ms"), good),
            record.table(heads, rows),
            "*closed, N*: N connections, each asks again when it was answered. *open, N%*: random arrivals at that "
            "share of what 32 connections get with the first window. The windows were measured one after the other; a "
            "p99 of a few hundred requests is that of a handful.",
            "![p99 by rate](serving.png)",
        )
    )


def draw(found: Record, limit_ms: float, path: Path) -> None:
    """The open load's p99 over its rate, a line for each window."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (takes a second to import)

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for window in dict.fromkeys(each.key["window_ms"] for each in found.cells):
        cells = [
            each
            for each in found.cells
            if each.key["window_ms"] == window and str(each.key["load"]).startswith("open") and each.samples
        ]
        rates = [float(each.facts["rate"]) for each in cells]
        axes.plot(rates, [each.percentile(99) for each in cells], marker="o", label=f"{window} ms")
    axes.axhline(limit_ms, color="black", linewidth=1, linestyle="--")
    axes.set_yscale("log")
    axes.set_xlabel("requests/s, open load")
    axes.set_ylabel("p99 ms")
    axes.set_title(f"{found.settings['model']}, {found.machine['gpu'] or found.machine['cpu']}, by window", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


async def run(options: argparse.Namespace) -> list[Cell]:
    """Every window in a stack of its own."""
    photo, cells, rate = options.photo.read_bytes(), list[Cell](), options.rate
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{options.model}", total=len(options.windows))
        for window in options.windows:
            with tempfile.TemporaryDirectory() as folder:
                with_window(options.repository / options.model, window, Path(folder))
                async with Stack(Options(Path(folder))) as stack:
                    await stack.ready()
                    server = Server("the gateway", stack.gateway_url, f"/v1/models/{options.model}/classify")
                    found, rate = await measured(server, photo, options.seconds, rate)
            cells += [cell(window, name, load) for name, load in found]
            progress.advance(task)
    return cells


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, default=PROJECT / "model_repository", help="default: %(default)s")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--photo", type=Path, default=PROJECT / "docs" / "images" / "cat.jpg")
    parser.add_argument("--windows", type=int, nargs="+", default=WINDOWS, metavar="MS", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each load; default: %(default)s")
    parser.add_argument("--rate", type=float, default=0.0, help="that open loads are shares of; default: as measured")
    parser.add_argument("--limit-ms", type=float, default=50.0, help="of goodput; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="default: %(default)s")
    options = parser.parse_args()
    cells = asyncio.run(run(options))
    settings = {"model": options.model, "photo": options.photo.name, "seconds": options.seconds, "rate": options.rate}
    found = record.recorded("serving", "ms", cells, settings)
    record.publish(found, options.out, page(found, options.limit_ms), partial(draw, found, options.limit_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
