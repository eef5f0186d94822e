"""How many gateways and GPUs a rate of pictures takes: a simulation, checked here, and asked for larger machines.

    python -m benchmarks.capacity check
    python -m benchmarks.capacity plan

`check` measures what a picture costs this machine, in CPU time, with one connection; and by a closed loop how many
cores it really gives. From these alone the simulation says how long pictures take at a share of the highest rate. Then
it sends pictures at random moments at those rates, and shows both. `plan` finds the highest load of a GPU at which 99
of 100 pictures still take less than the time that is promised, and counts what 1,000 to 1,000,000 a second take.
"""

import argparse
import asyncio
import math
import random
import re
import resource
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tritonclient.grpc.aio import InferenceServerClient, InferInput

from benchmarks.gateway import PROJECT, cpu_seconds, over_http
from benchmarks.http import Connection
from benchmarks.load import Server, open_loop
from benchmarks.simulation import Batcher, Clock, Gateway, Machine, Model, Outcome, Pool, simulate
from contract.config import from_pbtxt, read_config
from contract.cpus import available_cpus
from embedded.supervisor import Options, Stack
from service.settings import Settings

SHARES = (0.2, 0.4, 0.6, 0.8)
BATCHES = (1, 2, 4, 8, 16, 32)
RATES = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Costs:
    """What one machine gives and a picture takes of it, in seconds."""

    cores: float
    client: float
    loop: float
    """Of the gateway beside decoding: HTTP, gRPC, answers, in its one event loop."""
    decode: float
    model: Model

    @property
    def picture(self) -> float:
        """All of it, in batches of one."""
        return self.client + self.loop + self.decode + self.model.fixed + self.model.each


@dataclass(frozen=True)
class Assumptions:
    """Of `plan`. Replace each by your own: the report of a build says what an engine does on your GPU."""

    gpu_rate: float = 15_000.0
    """Pictures a second of one H100 with ViT-S/16 at FP16 and full batches. Not measured: twice the 7,693 of an RTX
    4090 in timm's results/benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv."""
    gpu_fixed: float = 0.001
    """Seconds that an execution takes whatever its size. A guess; a report's curve of batches has it."""
    max_batch: int = 64
    delay: float = 0.01
    """As entries for TensorRT have it (`contract.config.QUEUE_DELAY_US`)."""
    decode: float = 0.004
    loop: float = 0.001
    """Core-seconds of the gateway for a 500x375 JPEG: docs/operations.md, measured."""
    picture_bytes: int = 107_000
    """The JPEG of the same measurement."""
    pixel_bytes: int = 224 * 224 * 3
    promised: float = 0.05
    """What 99 of 100 pictures take at most: the alert LatencyHigh's limit."""
    decoder_load: float = 0.7
    """Of the gateways' cores, as the autoscaler holds it."""
    worker_cores: int = 2
    nic_bits: float = 25e9
    gpu_hour: float = 4.0
    core_hour: float = 0.045
    """US dollars, round numbers between clouds' list prices; no quotes."""


def on_this_machine(costs: Costs, rate: float, requests: int, capacity: int) -> Outcome:
    """Client, gateway and Triton share the cores of one machine."""
    clock = Clock()
    machine = Machine(clock, costs.cores)
    chance = random.Random(2)  # noqa: S311 (a simulation)
    stages = [
        (Pool(machine, 1), lambda: costs.client),
        (Pool(machine, 1), lambda: costs.loop),
        # Threads wait for the interpreter's lock and the kernel's turns: what each takes varies about its mean.
        (Pool(machine, 4), lambda: costs.decode * chance.uniform(0.5, 1.5)),
    ]
    return simulate(clock, [Gateway(stages, capacity)], [Batcher(clock, machine, costs.model)], rate, requests)


def cell(given: Assumptions, load: float, requests: int = 20_000) -> Outcome:
    """One GPU at that share of its rate, and as many gateways as its pictures take."""
    rate = load * given.gpu_rate
    clock, chance = Clock(), random.Random(3)  # noqa: S311 (a simulation)
    each = max(1e-9, 1 / given.gpu_rate - given.gpu_fixed / given.max_batch)
    model = Model(given.gpu_fixed, each, given.max_batch, delay=given.delay)
    triton = Batcher(clock, Machine(clock, 1), model)
    gateways = []
    for _ in range(math.ceil(cores_for(given, rate) / given.worker_cores)):
        machine = Machine(clock, given.worker_cores)
        stages = [
            (Pool(machine, 1), lambda: given.loop),
            # Photographs differ: exponential, so that one takes several times the mean.
            (Pool(machine, 2 * given.worker_cores), lambda: chance.expovariate(1 / given.decode)),
        ]
        gateways.append(Gateway(stages, Settings().max_in_flight))
    return simulate(clock, gateways, [triton], rate, requests)


def cores_for(given: Assumptions, rate: float) -> float:
    """Cores of gateways, at the load that they are held at."""
    return rate * (given.decode + given.loop) / given.decoder_load


def highest_load(given: Assumptions, loads: tuple[float, ...] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)) -> float:
    """The highest load of a GPU at which what is promised holds and nothing is refused; 0 where there is none."""
    for load in loads:
        outcome = cell(given, load)
        if not outcome.refused and outcome.percentile(99) <= given.promised:
            return load
    return 0.0


@dataclass(frozen=True)
class Plan:
    """What a rate takes."""

    rate: float
    gpus: int
    cores: int
    workers: int
    gateway_bits: float
    """Into all gateways: pictures."""
    gpu_bits: float
    """Into each GPU's machine: pixels."""
    calls: float
    """A second, of all workers that look at all Tritons."""
    dollars_hour: float


def plan(given: Assumptions, rate: float, load: float) -> Plan:
    """One GPU more than the rate takes, as one may go; a worker for each `worker_cores`."""
    gpus = math.ceil(rate / (load * given.gpu_rate)) + 1
    workers = math.ceil(cores_for(given, rate) / given.worker_cores)
    cores = workers * given.worker_cores
    return Plan(
        rate,
        gpus,
        cores,
        workers,
        rate * given.picture_bytes * 8,
        rate / (gpus - 1) * given.pixel_bytes * 8,
        workers * gpus * 3.0,  # ServerReady, RepositoryIndex, and a ModelConfig for one entry
        gpus * given.gpu_hour + cores * given.core_hour,
    )


async def measured(stack: Stack, model: str, photo: bytes, seconds: float) -> Costs:
    """What a picture costs this machine."""
    entry = read_config(from_pbtxt((stack.options.repository / model / "config.pbtxt").read_text()))
    if entry is None:
        raise SystemExit(f"{model} is not an entry of Vitrine's")
    curve = await batch_curve(stack, model, (entry.preprocessing.height, entry.preprocessing.width, 3))
    gateway = [stack.gateway_pid] if stack.gateway_pid else []
    stages: dict[str, list[float]] = defaultdict(list)
    async with Connection(stack.gateway_url) as connection:
        before, began, own = cpu_seconds(gateway), time.perf_counter(), own_cpu()
        while time.perf_counter() - began < seconds:
            answer = await connection.post(f"/v1/models/{model}/classify", photo)
            for name, duration in re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]):
                stages[name].append(float(duration) / 1000)
        requests = len(stages["total"])
        client, served = (own_cpu() - own) / requests, (cpu_seconds(gateway) - before) / requests
    # The median, as others use this machine, too.
    decode = min(float(np.median(stages["decode"]) + np.median(stages["resize"])), served)
    full = await over_http(stack, model, repeat(photo), 32, seconds)
    each = client + served + curve.fixed / max(1.0, full.batch) + curve.each
    return Costs(full.rate * each, client, served - decode, decode, curve)


async def batch_curve(stack: Stack, model: str, shape: tuple[int, int, int]) -> Model:
    """What an execution costs Triton, in CPU time, by a straight line through batches of several sizes."""
    pids = [stack.triton_pid] if stack.triton_pid else []
    found = []
    async with InferenceServerClient(stack.grpc_address) as client:
        for size in BATCHES:
            image = InferInput("image", [size, *shape], "UINT8")
            image.set_data_from_numpy(np.zeros((size, *shape), np.uint8))
            before, began, runs = cpu_seconds(pids), time.perf_counter(), 0
            while time.perf_counter() - began < 1.5:
                await client.infer(model, [image])
                runs += 1
            found.append((cpu_seconds(pids) - before) / runs)
    each, fixed = np.polyfit(BATCHES, found, 1)
    return Model(max(0.0, float(fixed)), max(1e-6, float(each)), max_batch=64, width=2.0)


def own_cpu() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def one_round(
    stack: Stack, options: argparse.Namespace, photo: bytes, costs: Costs, share: float
) -> tuple[float, float, float, float, float]:
    """Rate; p50 as measured and as simulated; p99 likewise.

    The cores are measured anew just before: others may use the machine, and more of it than a minute ago.
    """
    full = await over_http(stack, options.model, repeat(photo), 32, options.seconds / 2)
    now = replace(costs, cores=min(float(available_cpus()), full.rate * costs.picture))
    rate = share * now.cores / now.picture
    server = Server("the gateway", stack.gateway_url, f"/v1/models/{options.model}/classify")
    came = await open_loop(server, photo, rate, options.seconds)
    said = on_this_machine(now, rate, 10_000, Settings().max_in_flight)
    return rate, came.percentile(50) / 1000, said.percentile(50), came.percentile(99) / 1000, said.percentile(99)


async def check(options: argparse.Namespace, console: Console) -> None:
    """Measure, predict, measure again, and print both."""
    photo = options.photo.read_bytes()
    async with Stack(Options(options.repository)) as stack:
        await stack.ready()
        await over_http(stack, options.model, repeat(photo), 4, 1.0)
        costs = await measured(stack, options.model, photo, options.seconds)
        console.print(
            f"a picture: client {costs.client * 1000:.2f}, event loop {costs.loop * 1000:.2f}, decode and resize "
            f"{costs.decode * 1000:.2f}, model {costs.model.fixed * 1000:.2f} + {costs.model.each * 1000:.2f} CPU-ms; "
            f"{costs.cores:.2f} cores; {costs.cores / costs.picture:.0f} a second one by one"
        )
        table = Table(title=f"{options.model}, {options.photo.name}, median of {options.rounds} rounds")
        for head in ("load", "rate", "p50 ms", "simulated", "p99 ms", "simulated", "p50 off by", "p99 off by"):
            table.add_column(head, justify="right")
        for share in SHARES:
            rounds = np.array([await one_round(stack, options, photo, costs, share) for _ in range(options.rounds)])
            rate, *times = np.median(rounds, axis=0)
            off = (np.median(rounds[:, said] / rounds[:, found] - 1) for found, said in ((1, 2), (3, 4)))
            shown = (f"{share:.0%}", f"{rate:.0f}", *(f"{1000 * each:.1f}" for each in times))
            table.add_row(*shown, *(f"{each:+.0%}" for each in off))
        console.print(table)


def show(given: Assumptions, console: Console) -> None:
    """Print the plan for every rate."""
    load = highest_load(given)
    console.print(
        f"a GPU at {load:.0%} of {given.gpu_rate:.0f} pictures/s keeps p99 under {given.promised * 1000:.0f} ms; "
        f"it takes {cores_for(given, load * given.gpu_rate):.0f} cores of gateways"
    )
    table = Table(title="with one GPU to spare")
    heads = (
        "pictures/s",
        "GPUs",
        "gateway cores",
        "workers",
        "in Gbit/s",
        "Gbit/s a GPU",
        "looks/s",
        "$/hour",
        "$/million",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for rate in RATES:
        found = plan(given, rate, load)
        per_million = found.dollars_hour / (rate * 3600) * 1e6
        table.add_row(
            f"{rate:,}",
            f"{found.gpus:,}",
            f"{found.cores:,}",
            f"{found.workers:,}",
            f"{found.gateway_bits / 1e9:,.1f}",
            f"{found.gpu_bits / 1e9:.1f}",
            f"{found.calls:,.0f}",
            f"{found.dollars_hour:,.0f}",
            f"{per_million:.2f}",
        )
    console.print(table)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["check", "plan"])
    parser.add_argument("--repository", type=Path, default=PROJECT / "model_repository")
    parser.add_argument("--model", default="cifar10_vit", help="default: %(default)s")
    parser.add_argument("--photo", type=Path, default=PROJECT / "docs" / "images" / "cat.jpg")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each round; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="for each load; default: %(default)s")
    for name in ("gpu_rate", "decode", "loop", "promised", "gpu_hour", "core_hour"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(Assumptions, name))
    options = parser.parse_args()
    if options.what == "check":
        asyncio.run(check(options, Console()))
    else:
        names = ("gpu_rate", "decode", "loop", "promised", "gpu_hour", "core_hour")
        show(Assumptions(**{name: getattr(options, name) for name in names}), Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
