"""Two gateways before three Tritons, a load on them, and what it was answered while one of them came to harm."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running, running
from tests.integration.entries import publish_colours
from tests.processes import free_port
from tests.waiting import until

PICTURE = encoded(a_picture((0, 200, 0), (8, 8)))
CLASSIFY = "/v1/models/colours/classify"
DEADLINE_S = 5.0
CLIENTS = 4
"""For each gateway."""


class Gateway:
    """A gateway as a process, at a port of its own."""

    def __init__(self, tritons: str) -> None:
        self.port = free_port()
        settings = {"VITRINE_PORT": str(self.port), "VITRINE_TRITON_URL": tritons, "VITRINE_DRAIN_SECONDS": "1"}
        self._environment = {**os.environ, **settings}
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "service"]
        self.process = subprocess.Popen(
            command, env=self._environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(60)


@dataclass(frozen=True)
class Answer:
    """What one request ended with."""

    started: float
    ended: float
    gateway: int
    outcome: str
    """`ok`, an error's code, or `lost` where the connection ended without an answer."""
    version: str = ""


@dataclass
class Fleet:
    """What runs, and what it answered."""

    gateways: list[Gateway]
    tritons: list[Running]
    answers: list[Answer] = field(default_factory=list)
    harmed: int = 0
    """How often a Triton came to harm."""

    def next_triton(self) -> Running:
        """Each in turn: a supervisor gives up one that ends five times in a minute."""
        self.harmed += 1
        return self.tritons[self.harmed % len(self.tritons)]

    def is_whole(self) -> bool:
        """Whether every gateway knows the version that answers on every Triton."""
        try:
            texts = [httpx.get(f"{each.url}/metrics", timeout=30).text for each in self.gateways]
        except httpx.TransportError:
            return False
        wanted = rf'^vitrine_model_tritons{{model="colours",version="\d+"}} {len(self.tritons)}\.0$'
        return all(re.search(wanted, text, re.MULTILINE) for text in texts)

    def outcomes(self, since: float = 0.0, gateway: int | None = None) -> Counter[str]:
        """How many requests ended how, of those that began since then."""
        found = [each for each in list(self.answers) if each.started >= since]
        return Counter(each.outcome for each in found if gateway in (None, each.gateway))

    def well_again(self, since: float) -> float:
        """Seconds from then on after which no request began that was not answered."""
        return max((each.started - since for each in list(self.answers) if each.outcome != "ok"), default=0.0)

    def settled(self, since: float = 0.0, answers: int = 100, within_s: float = 60.0) -> None:
        """Wait until so many in a row of each gateway, that began since then, were answered."""
        give_up = time.monotonic() + within_s
        while True:
            lasts = [
                [a.outcome for a in list(self.answers) if a.gateway == n and a.started >= since][-answers:]
                for n in range(len(self.gateways))
            ]
            if all(len(last) == answers and set(last) == {"ok"} for last in lasts):
                return
            assert time.monotonic() < give_up, lasts
            time.sleep(0.1)


def _ask(fleet: Fleet, number: int, stop: threading.Event) -> None:
    with httpx.Client(base_url=fleet.gateways[number].url, timeout=30) as client:
        while not stop.is_set():
            started, version = time.monotonic(), ""
            try:
                answer = client.post(CLASSIFY, content=PICTURE, headers={"X-Request-Timeout": str(DEADLINE_S)})
                outcome = "ok" if answer.status_code == 200 else answer.json()["code"]
                version = answer.json().get("version", "")
            except httpx.TransportError:
                outcome = "lost"
                stop.wait(0.05)
            fleet.answers.append(Answer(started, time.monotonic(), number, outcome, version))


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Two gateways and three Tritons, each with a repository of its own that holds `colours`."""
    with ExitStack() as stack:
        tritons = []
        for number in range(3):
            repository = folder / f"triton-{number}" / "repository"
            repository.mkdir(parents=True)
            publish_colours(repository)
            tritons.append(stack.enter_context(running(repository, gateway=None)))
        target = ",".join(each.stack.grpc_address for each in tritons)
        gateways = []
        for _ in range(2):
            gateways.append(Gateway(target))
            stack.callback(gateways[-1].stop)
        for each in gateways:
            until(each.is_ready)
        started = Fleet(gateways, tritons)
        until(started.is_whole)
        yield started


@contextmanager
def load(fleet: Fleet) -> Iterator[None]:
    """Clients of every gateway, each with one request at a time."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(fleet, n % len(fleet.gateways), stop))
        for n in range(CLIENTS * len(fleet.gateways))
    ]
    for thread in threads:
        thread.start()
    try:
        fleet.settled()
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
