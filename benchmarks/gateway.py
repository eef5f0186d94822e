"""The gateway beside the bare Triton: requests a second, latency and CPU time, in one run on one machine.

    python -m benchmarks.gateway --model cifar10_vit --seconds 5

For each number of connections, closed loop: `http` posts the photograph to the gateway; `grpc` sends the same picture,
already decoded and resized, straight to Triton. Their ratio is what the gateway costs. The load comes from this
process, on the same CPUs, so the figures are lower than a machine of its own would give; the ratios are fair to both.
"""

import argparse
import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table
from tritonclient.grpc.aio import InferenceServerClient, InferInput

from benchmarks.http import Connection
from contract.config import from_pbtxt, read_config
from contract.pixels import to_pixels
from embedded.supervisor import Options, Stack

PROJECT = Path(__file__).resolve().parents[1]
TICKS_PER_SECOND = 100


@dataclass(frozen=True)
class Load:
    """What one closed loop measured."""

    requests: int
    seconds: float
    latencies_ms: npt.NDArray[np.float64]
    cpu_ms: float
    """Of gateway and Triton together, per request."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Latency below which that share of the requests stayed."""
        return float(np.percentile(self.latencies_ms, percent))


async def closed_loop(ask: list[Callable[[], Awaitable[None]]], seconds: float, pids: list[int]) -> Load:
    """Every callable asks again as soon as it was answered."""
    latencies: list[float] = []
    started = time.perf_counter()
    cpu_before = cpu_seconds(pids)

    async def work(one: Callable[[], Awaitable[None]]) -> None:
        while (begun := time.perf_counter()) - started < seconds:
            await one()
            latencies.append((time.perf_counter() - begun) * 1000)

    await asyncio.gather(*(work(one) for one in ask))
    elapsed = time.perf_counter() - started
    cpu_ms = (cpu_seconds(pids) - cpu_before) * 1000 / len(latencies)
    return Load(len(latencies), elapsed, np.array(latencies), cpu_ms)


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes and their children (proc(5), /proc/pid/stat fields 14 and 15)."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(stat.parent.name) in pids or int(fields[1]) in pids:
            total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_SECOND


async def over_http(stack: Stack, model: str, photos: Iterator[bytes], connections: int, seconds: float) -> Load:
    """Load on the gateway; each request posts the next photo."""
    opened = [await Connection(stack.gateway_url).__aenter__() for _ in range(connections)]

    def asker(connection: Connection) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            answer = await connection.post(f"/v1/models/{model}/classify", next(photos))
            if answer.status != 200:
                raise RuntimeError(f"the gateway answered {answer.status}: {answer.body[:200]!r}")

        return ask

    try:
        return await closed_loop([asker(connection) for connection in opened], seconds, pids_of(stack))
    finally:
        for connection in opened:
            await connection.__aexit__(None, None, None)


async def over_grpc(stack: Stack, model: str, pixels: npt.NDArray[np.uint8], connections: int, seconds: float) -> Load:
    """Load on the bare Triton."""
    image = InferInput("image", [1, *pixels.shape], "UINT8")
    image.set_data_from_numpy(pixels[np.newaxis])
    async with InferenceServerClient(stack.grpc_address) as client:

        async def ask() -> None:
            await client.infer(model, [image])

        return await closed_loop([ask] * connections, seconds, pids_of(stack))


def pids_of(stack: Stack) -> list[int]:
    """The processes that serve."""
    return [pid for pid in (stack.gateway_pid, stack.triton_pid) if pid is not None]


async def measure(options: argparse.Namespace, console: Console) -> None:
    """Start a stack, load it, print the table."""
    entry = read_config(from_pbtxt((options.repository / options.model / "config.pbtxt").read_text()))
    if entry is None:
        raise SystemExit(f"{options.model} is not an entry of Vitrine's")
    photo = options.photo.read_bytes()
    pixels = to_pixels(Image.open(io.BytesIO(photo)).convert("RGB"), entry.preprocessing)
    table = Table(title=f"{options.model}, {options.photo.name} ({len(photo)} bytes), {options.seconds:g} s a row")
    for head in ("connections", "to", "requests/s", "p50 ms", "p99 ms", "CPU-ms/request", "of grpc's rate"):
        table.add_column(head, justify="right")
    async with Stack(Options(options.repository)) as stack:
        await stack.ready()
        await over_http(stack, options.model, repeat(photo), 4, 1.0)  # the first requests are not like the others
        for connections in options.connections:
            grpc = await over_grpc(stack, options.model, pixels, connections, options.seconds)
            http = await over_http(stack, options.model, repeat(photo), connections, options.seconds)
            for name, load, share in (("grpc", grpc, ""), ("http", http, f"{http.rate / grpc.rate:.2f}")):
                figures = (load.rate, load.percentile_ms(50), load.percentile_ms(99), load.cpu_ms)
                table.add_row(str(connections), name, *(f"{figure:.1f}" for figure in figures), share)
    console.print(table)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, default=PROJECT / "model_repository")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--photo", type=Path, default=PROJECT / "docs" / "images" / "cat.jpg")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row; default: %(default)s")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32], help="default: %(default)s")
    asyncio.run(measure(parser.parse_args(), Console()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
