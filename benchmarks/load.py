"""Load on a server over HTTP: closed, where everyone waits for an answer, and open, where nobody does.

A closed loop slows down with the server, so it finds the rate that a server can give; an open one goes on at its rate
as the world does, and finds what people wait for (Schroeder, Wierman and Harchol-Balter 2006).
"""

import asyncio
import random
import time
from typing import NamedTuple

import numpy as np

from benchmarks.http import Connection


class Server(NamedTuple):
    """What is loaded."""

    name: str
    url: str
    path: str


class Load(NamedTuple):
    """What came of it."""

    samples_ms: tuple[float, ...]
    """Of each answered request; in an open loop from the moment that it was due."""
    refused: int
    """Requests that were answered 503."""
    seconds: float
    """From the first request to the last answer."""

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return len(self.samples_ms) / self.seconds

    def percentile(self, percent: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.samples_ms, percent)) if self.samples_ms else float("inf")


async def closed_loop(server: Server, photo: bytes, connections: int, seconds: float) -> Load:
    """Every connection posts again as soon as it was answered.

    Raises:
        RuntimeError: an answer was not 200.
    """
    samples: list[float] = []
    started = time.perf_counter()

    async def ask() -> None:
        async with Connection(server.url) as connection:
            while (begun := time.perf_counter()) - started < seconds:
                answer = await connection.post(server.path, photo)
                if answer.status != 200:
                    raise RuntimeError(f"{server.name} answered {answer.status}: {answer.body[:200]!r}")
                samples.append((time.perf_counter() - begun) * 1000)

    await asyncio.gather(*(ask() for _ in range(connections)))
    return Load(tuple(samples), 0, time.perf_counter() - started)


async def open_loop(server: Server, photo: bytes, rate: float, seconds: float) -> Load:
    """Post at random moments (a Poisson process, seeded), each on a free connection.

    Raises:
        RuntimeError: an answer was neither 200 nor 503.
    """
    chance, opened, free = random.Random(4), list[Connection](), list[Connection]()  # noqa: S311 (a load)
    samples: list[float] = []
    refused = 0

    async def one(due: float) -> None:
        nonlocal refused
        if free:
            connection = free.pop()
        else:
            connection = await Connection(server.url).__aenter__()
            opened.append(connection)
        answer = await connection.post(server.path, photo)
        if answer.status == 200:
            samples.append((time.perf_counter() - due) * 1000)
        elif answer.status == 503:
            refused += 1
        else:
            raise RuntimeError(f"{server.name} answered {answer.status}: {answer.body[:200]!r}")
        if not answer.closes:
            free.append(connection)

    tasks = []
    due = began = time.perf_counter()
    try:
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(due)))
            due += chance.expovariate(rate)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in opened:
            await connection.__aexit__(None, None, None)
    return Load(tuple(samples), refused, time.perf_counter() - began)
