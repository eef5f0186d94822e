"""`vitrine classify` beside the load generator of `benchmarks.gateway`, in turn, against one stack on one machine.

    python -m benchmarks.client --files 1000 --rounds 3

Both post the same photograph, with as many in flight. Where there are two CPUs or more, the stack gets one half of them
and whoever asks the other, as if each had a machine: the question is whether `vitrine` keeps a server busy, not what it
takes from a server beside it. `ratio` is by the rate that the command prints, `whole` has its start in it.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from itertools import repeat
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.gateway import PROJECT, over_http
from embedded.supervisor import Options, Stack


async def whole_command(url: str, model: str, folder: Path, parallel: int) -> tuple[float, float]:
    """Seconds that the command takes for all files of `folder`: by what it says, and with its start."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "vitrine", "classify", str(folder), "-o", str(folder / "results.jsonl")]
    options = ["--model", model, "--url", url, "--parallel", str(parallel)]
    process = await asyncio.create_subprocess_exec(*command, *options, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"vitrine ended with {process.returncode}: {said.decode(errors='replace')}")
    (folder / "results.jsonl").unlink()
    return float(said.decode().rpartition(" in ")[2].partition(" s,")[0]), time.perf_counter() - began


def halves() -> tuple[set[int], set[int]]:
    """The CPUs of the stack, and those of whoever asks; the same one where there is one."""
    cpus = sorted(os.sched_getaffinity(0))
    middle = max(1, len(cpus) // 2)
    return set(cpus[:middle]), set(cpus[middle:] or cpus)


async def measure(options: argparse.Namespace, console: Console) -> None:
    """Start a stack, load it, print the table."""
    photo = options.photo.read_bytes()
    of_stack, of_client = halves()
    table = Table(
        title=f"{options.model}, {options.files} files, {options.connections} in flight; "
        f"CPUs: {len(of_stack)} for the stack, {len(of_client)} for who asks"
    )
    for head in ("round", "load generator, a second", "vitrine, a second", "ratio", "whole"):
        table.add_column(head, justify="right")
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.files):
            (folder / f"{number:05}.jpg").write_bytes(photo)
        os.sched_setaffinity(0, of_stack)  # What it starts inherits them.
        async with Stack(Options(options.repository, show=lambda _: None)) as stack:
            await stack.ready()
            os.sched_setaffinity(0, of_client)
            await over_http(stack, options.model, repeat(photo), options.connections, 1.0)
            for number in range(options.rounds):
                load = await over_http(stack, options.model, repeat(photo), options.connections, options.seconds)
                seconds, whole = await whole_command(stack.gateway_url, options.model, folder, options.connections)
                rate = options.files / seconds
                ratios.append(rate / load.rate)
                table.add_row(
                    str(number + 1),
                    f"{load.rate:.0f}",
                    f"{rate:.0f}",
                    f"{ratios[-1]:.2f}",
                    f"{options.files / whole:.0f}",
                )
    table.add_row("median", "", "", f"{np.median(ratios):.2f}", "")
    console.print(table)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, default=PROJECT / "model_repository")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--photo", type=Path, default=PROJECT / "docs" / "images" / "cat.jpg")
    parser.add_argument("--files", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=8.0, help="of the load generator; default: %(default)s")
    parser.add_argument("--connections", type=int, default=16, help="default: %(default)s")
    asyncio.run(measure(parser.parse_args(), Console()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
