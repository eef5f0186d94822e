"""What takes long: `make soak`. Each test prints its figures, which docs/operations.md shows."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.http import Answer, Connection
from embedded.supervisor import Options
from tests.fakes import a_picture, encoded, mutated
from tests.integration.conftest import Running, running
from tests.unit.service.test_mutations import FORMATS

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[2]
PHOTO = (ROOT / "docs" / "images" / "cat.jpg").read_bytes()
MODEL = "cifar10_vit"
CLASSIFY = f"/v1/models/{MODEL}/classify"
REQUESTS = int(os.environ.get("SOAK_REQUESTS", "100000"))
CONNECTIONS = int(os.environ.get("SOAK_CONNECTIONS", "16"))
TENTHS = 10
SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
DEADLINE_S = 10.0
"""The gateway's own."""
OVERLOAD = 3


@pytest.fixture
def bundled() -> Iterator[Running]:
    """The stack of `make run`, new for each test."""
    repository = ROOT / "model_repository"
    with running(repository, Options(repository).gateway, {"VITRINE_DEFAULT_MODEL": MODEL}) as started:
        yield started


class Process:
    """What the kernel says of the gateway."""

    def __init__(self, stack: Running) -> None:
        assert stack.stack.gateway_pid is not None
        self._proc = Path(f"/proc/{stack.stack.gateway_pid}")

    def memory(self) -> float:
        """Resident, in MB."""
        return int((self._proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def counts(self) -> dict[str, int]:
        """What must not grow."""
        return {
            "file descriptors": len(list((self._proc / "fd").iterdir())),
            "threads": len(list((self._proc / "task").iterdir())),
            "files in /dev/shm": len(list(Path("/dev/shm").iterdir())),  # noqa: S108 (only looked at)
        }


async def closed_loop(url: str, contents: Iterator[bytes], connections: int) -> Counter[int]:
    """Each connection asks again as soon as it was answered, until there is nothing more to send."""
    answers: Counter[int] = Counter()

    async def work() -> None:
        connection = await Connection(url).__aenter__()
        for content in contents:
            answer = await connection.post(CLASSIFY, content)
            answers[answer.status] += 1
            if answer.closes:
                await connection.__aexit__(None, None, None)
                connection = await Connection(url).__aenter__()
        await connection.__aexit__(None, None, None)

    await asyncio.gather(*(work() for _ in range(connections)))
    return answers


def show(title: str, **figures: object) -> None:
    """The figures, as rows of a Markdown table."""
    print(f"\n{title}\n")  # noqa: T201
    for name, value in figures.items():
        print(f"| {name.replace('_', ' ')} | {value} |")  # noqa: T201


async def test_three_times_the_capacity_is_answered_or_refused_at_once(bundled: Running) -> None:
    url = bundled.stack.gateway_url
    begun = time.perf_counter()
    warm = await closed_loop(url, iter([PHOTO] * 1000), 32)
    capacity = warm[200] / (time.perf_counter() - begun)
    rate = OVERLOAD * capacity
    idle: list[Connection] = []
    answers: Counter[int] = Counter()
    accepted: list[float] = []
    without_retry = 0

    async def ask(due: float) -> None:
        """One request; its time counts from when it was due, not from when this busy machine sent it."""
        nonlocal without_retry
        connection = idle.pop() if idle else await Connection(url).__aenter__()
        answer: Answer = await connection.post(CLASSIFY, PHOTO)
        answers[answer.status] += 1
        if answer.status == 200:
            accepted.append(time.perf_counter() - due)
        elif "retry-after" not in answer.headers:
            without_retry += 1
        if answer.closes:
            await connection.__aexit__(None, None, None)
        else:
            idle.append(connection)

    started = time.perf_counter()
    tasks: list[asyncio.Task[None]] = []
    while (due := started + len(tasks) / rate) < started + SECONDS:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(due)))
    await asyncio.gather(*tasks)
    elapsed = time.perf_counter() - started
    for connection in idle:
        await connection.__aexit__(None, None, None)
    p99 = float(np.percentile(accepted, 99))
    show(
        f"L1: {OVERLOAD} times the capacity for {elapsed:.0f} s",
        capacity=f"{capacity:.0f}/s",
        sent=len(tasks),
        answered=dict(answers),
        answered_with_200=f"{answers[200] / elapsed:.0f}/s",
        p50_of_accepted=f"{np.percentile(accepted, 50) * 1000:.0f} ms",
        p99_of_accepted=f"{p99 * 1000:.0f} ms",
    )
    assert sum(answers.values()) == len(tasks)
    assert set(answers) == {200, 503}
    assert without_retry == 0
    assert p99 <= DEADLINE_S
    # What is refused costs as well, and here so does who asks: the two share the CPUs.
    assert answers[200] / elapsed > capacity / 3


async def test_ten_thousand_broken_pictures_break_nothing(bundled: Running) -> None:
    chance = random.Random(20)  # noqa: S311 (nothing is secret here)
    whole = [encoded(picture, kind) for picture in (a_picture(), a_picture((0, 99, 0))) for kind in FORMATS]
    process = Process(bundled)
    broken = (mutated(chance.choice(whole), chance) for _ in range(10_000))
    first = await closed_loop(bundled.stack.gateway_url, iter([next(broken) for _ in range(3000)]), 16)
    before = process.memory()
    answers = first + await closed_loop(bundled.stack.gateway_url, broken, 16)
    grown = process.memory() - before
    show("U20: 10,000 broken pictures", answered=dict(answers), memory_grown=f"{grown:.1f} MB")
    assert sum(answers.values()) == 10_000
    assert set(answers) <= {200, 413, 415, 422}
    assert grown < 30


async def test_nothing_grows(bundled: Running) -> None:
    contents = [PHOTO, PHOTO, encoded(a_picture(), "PNG"), encoded(a_picture(), "WEBP"), PHOTO[:500], b"text"]
    process = Process(bundled)
    await closed_loop(bundled.stack.gateway_url, iter([PHOTO] * 200), 16)  # Threads are started as they are needed.
    begun = time.perf_counter()
    answers: Counter[int] = Counter()
    memory, counts = [], []
    for _ in range(TENTHS):
        batch = (contents[number % len(contents)] for number in range(REQUESTS // TENTHS))
        answers += await closed_loop(bundled.stack.gateway_url, batch, CONNECTIONS)
        await asyncio.sleep(1)  # Until the connections are gone.
        memory.append(process.memory())
        counts.append(process.counts())
    async with httpx.AsyncClient(base_url=bundled.stack.gateway_url) as client:
        metrics = (await client.get("/metrics")).text.splitlines()
    show(
        f"L12: {REQUESTS} requests over {CONNECTIONS} connections in {time.perf_counter() - begun:.0f} s",
        answered=dict(answers),
        memory_after_each_tenth=", ".join(f"{each:.0f}" for each in memory) + " MB",
        **{f"{name}_after_each_tenth": ", ".join(str(each[name]) for each in counts) for name in counts[0]},
    )
    assert set(answers) == {200, 415, 422}
    assert memory[-1] - memory[0] < 30
    assert all(counts[-1][name] <= counts[0][name] for name in counts[0])
    assert "vitrine_in_flight_requests 1.0" in metrics, "the one that asks for the metrics"
