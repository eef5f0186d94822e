"""The gateway beside the bare Triton: requests a second, latency and CPU time, in one run on one machine.

    python -m benchmarks.gateway --model cifar10_vit --seconds 5

For each number of connections, closed loop: `http` posts the photograph to the gateway; `grpc` sends the same picture,
already decoded and resized, straight to Triton: the ratio of their rates is what the gateway leaves of Triton. For one
connection also `parts`: decode and resize here, then one inference over gRPC, one after the other; the ratio of the p50
of `http` to its p50 is what the gateway adds to a picture. The load comes from this process, on the same CPUs, so the
figures are lower than a machine of its own would give; the ratios are fair to both.
"""

import argparse
import asyncio
import io
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table
from tritonclient.grpc.aio import InferenceServerClient, InferInput

from benchmarks.http import Connection
from contract.config import from_pbtxt, read_config
from contract.pixels import to_pixels
from contract.spec import Preprocessing
from embedded.supervisor import Options, Stack

PROJECT = Path(__file__).resolve().parents[1]
TICKS_PER_SECOND = 100
METRICS_S = 2.5
"""How old Triton's metrics may be: it gathers them every two seconds."""


@dataclass(frozen=True)
class Load:
    """What one closed loop measured."""

    requests: int
    seconds: float
    latencies_ms: npt.NDArray[np.float64]
    gateway_cpu_ms: float
    """Per request, like the next."""
    triton_cpu_ms: float
    batch: float
    """Pictures in one execution, as Triton counts."""

    @property
    def cpu_ms(self) -> float:
        """Of gateway and Triton together, per request."""
        return self.gateway_cpu_ms + self.triton_cpu_ms

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Latency below which that share of the requests stayed."""
        return float(np.percentile(self.latencies_ms, percent))


async def closed_loop(ask: list[Callable[[], Awaitable[None]]], seconds: float, stack: Stack, model: str) -> Load:
    """Every callable asks again as soon as it was answered."""
    gateway, triton = ([] if pid is None else [pid] for pid in (stack.gateway_pid, stack.triton_pid))
    latencies: list[float] = []
    ran_before = await ran(stack, model)
    started = time.perf_counter()
    cpu_before = cpu_seconds(gateway), cpu_seconds(triton)

    async def work(one: Callable[[], Awaitable[None]]) -> None:
        while (begun := time.perf_counter()) - started < seconds:
            await one()
            latencies.append((time.perf_counter() - begun) * 1000)

    await asyncio.gather(*(work(one) for one in ask))
    elapsed = time.perf_counter() - started
    cpu_after = cpu_seconds(gateway), cpu_seconds(triton)
    of_gateway, of_triton = (
        (after - before) * 1000 / len(latencies) for before, after in zip(cpu_before, cpu_after, strict=True)
    )
    await asyncio.sleep(METRICS_S)
    pictures, executions = (after - before for before, after in zip(ran_before, await ran(stack, model), strict=True))
    return Load(len(latencies), elapsed, np.array(latencies), of_gateway, of_triton, pictures / executions)


async def ran(stack: Stack, model: str) -> tuple[float, float]:
    """How many pictures the model has run on, in how many executions."""
    text = await asyncio.to_thread(lambda: urlopen(stack.metrics_url).read().decode())  # noqa: S310 (our own Triton)
    counters = ("nv_inference_count", "nv_inference_exec_count")
    pictures, executions = (
        sum(float(value) for value in re.findall(rf'^{counter}{{model="{model}",.*}} (\S+)$', text, re.MULTILINE))
        for counter in counters
    )
    return pictures, executions


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
        return await closed_loop([asker(connection) for connection in opened], seconds, stack, model)
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

        return await closed_loop([ask] * connections, seconds, stack, model)


async def in_parts(stack: Stack, model: str, photo: bytes, preprocessing: Preprocessing, seconds: float) -> Load:
    """What a picture costs without a gateway: decode and resize here, then one inference."""
    async with InferenceServerClient(stack.grpc_address) as client:

        async def ask() -> None:
            pixels = to_pixels(Image.open(io.BytesIO(photo)).convert("RGB"), preprocessing)
            image = InferInput("image", [1, *pixels.shape], "UINT8")
            image.set_data_from_numpy(pixels[np.newaxis])
            await client.infer(model, [image])

        return await closed_loop([ask], seconds, stack, model)


async def measure(options: argparse.Namespace, console: Console) -> None:
    """Start a stack, load it, print the table."""
    entry = read_config(from_pbtxt((options.repository / options.model / "config.pbtxt").read_text()))
    if entry is None:
        raise SystemExit(f"{options.model} is not an entry of Vitrine's")
    photo = options.photo.read_bytes()
    pixels = to_pixels(Image.open(io.BytesIO(photo)).convert("RGB"), entry.preprocessing)
    table = Table(title=f"{options.model}, {options.photo.name} ({len(photo)} bytes), {options.seconds:g} s a row")
    for head in ("connections", "to", "requests/s", "p50 ms", "p99 ms", "CPU-ms/request", "mean batch", "ratio"):
        table.add_column(head, justify="right")

    def row(connections: int, name: str, load: Load, ratio: str) -> None:
        figures = (load.rate, load.percentile_ms(50), load.percentile_ms(99), load.cpu_ms, load.batch)
        table.add_row(str(connections), name, *(f"{figure:.1f}" for figure in figures), ratio)

    async with Stack(Options(options.repository)) as stack:
        await stack.ready()
        await over_http(stack, options.model, repeat(photo), 4, 1.0)  # the first requests are not like the others
        for connections in options.connections:
            rates, medians = [], []
            for _ in range(options.rounds):
                grpc = await over_grpc(stack, options.model, pixels, connections, options.seconds)
                http = await over_http(stack, options.model, repeat(photo), connections, options.seconds)
                rates.append(http.rate / grpc.rate)
                row(connections, "grpc", grpc, "")
                row(connections, "http", http, f"rate {rates[-1]:.2f}")
                if connections == 1:
                    parts = await in_parts(stack, options.model, photo, entry.preprocessing, options.seconds)
                    medians.append(http.percentile_ms(50) / parts.percentile_ms(50))
                    row(connections, "parts", parts, f"p50 {medians[-1]:.2f}")
            for name, ratios in (("rate", rates), ("p50", medians)):
                if len(ratios) > 1:
                    table.add_row(str(connections), "median", *[""] * 5, f"{name} {np.median(ratios):.2f}")
    console.print(table)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, default=PROJECT / "model_repository")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--photo", type=Path, default=PROJECT / "docs" / "images" / "cat.jpg")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=1, help="for each number of connections; default: %(default)s")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32], help="default: %(default)s")
    asyncio.run(measure(parser.parse_args(), Console()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
