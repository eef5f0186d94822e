"""Several worker processes in front of a real Triton: one gateway to whoever asks, and whole numbers."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running
from tests.processes import alive, command, descendants, free_port, listens
from tests.waiting import until

PICTURE = encoded(a_picture((0, 200, 0), (8, 8)))
CLASSIFY = "/v1/models/colours/classify"
ANSWERED = 'vitrine_requests_total{fault="none",route="/v1/models/{model}/classify",status="2xx"}'


@dataclass
class Gateway:
    """`python -m service` with several workers."""

    process: subprocess.Popen[bytes]
    url: str
    temporary: Path
    """Where it keeps its temporary files."""

    def workers(self) -> set[int]:
        return {pid for pid in descendants(self.process.pid) if "spawn_main" in command(pid) and alive(pid)}

    def scraped(self, series: str) -> float:
        """From a new connection, so that any worker may be the one that is asked."""
        text = httpx.get(f"{self.url}/metrics").text
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def serving(stack: Running, workers: int, **settings: str) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory() as temporary:
        port = free_port()
        environment = {
            **os.environ,
            "TMPDIR": temporary,
            "VITRINE_TRITON_URL": stack.stack.grpc_address,
            "VITRINE_PORT": str(port),
            "VITRINE_WORKERS": str(workers),
            **settings,
        }
        with subprocess.Popen([sys.executable, "-m", "service"], env=environment, stdout=subprocess.DEVNULL) as process:
            gateway = Gateway(process, f"http://127.0.0.1:{port}", Path(temporary))
            try:
                until(lambda: listens(port) and gateway.scraped("vitrine_workers") == workers)
                yield gateway
            finally:
                process.send_signal(signal.SIGTERM)


def ask(gateway: Gateway, requests: int) -> Counter[int]:
    """Each on a connection of its own; 0 counts those that were cut."""
    answers: Counter[int] = Counter()
    for _ in range(requests):
        with suppress(httpx.TransportError):
            answers[httpx.post(gateway.url + CLASSIFY, content=PICTURE, timeout=30).status_code] += 1
            continue
        answers[0] += 1
    return answers


def test_every_scrape_counts_the_requests_of_all_workers(stack: Running) -> None:
    with serving(stack, 4) as gateway:
        with ThreadPoolExecutor(8) as pool:
            answers = sum(pool.map(ask, [gateway] * 8, [125] * 8), Counter[int]())
        assert answers == {200: 1000}
        assert [gateway.scraped(ANSWERED) for _ in range(20)] == [1000.0] * 20
        total = 'vitrine_stage_duration_seconds_count{route="/v1/models/{model}/classify",stage="total"}'
        assert gateway.scraped(total) == 1000.0
        assert gateway.scraped("vitrine_in_flight_requests") == 1.0, "the one that asks for the metrics"
        assert gateway.scraped("vitrine_ready") == 1.0


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_forgotten(stack: Running) -> None:
    with serving(stack, 4) as gateway:
        before = gateway.workers()
        assert len(before) == 4
        assert ask(gateway, 50) == {200: 50}
        counted = [gateway.scraped(ANSWERED)]
        victim = min(before)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, gateway, 100) for _ in range(4)]
            os.kill(victim, signal.SIGKILL)
            while not all(each.done() for each in asked):
                counted.append(gateway.scraped(ANSWERED))
        answers = sum((each.result() for each in asked), Counter[int]())
        until(lambda: len(gateway.workers()) == 4 and gateway.scraped("vitrine_workers") == 4)
        assert victim not in gateway.workers()
        assert len(before & gateway.workers()) == 3, "the others stayed"
        assert set(answers) <= {200, 0}
        assert answers[0] <= 4, "at most what the killed one had in hand"
        assert counted == sorted(counted)
        assert 50 + answers[200] <= gateway.scraped(ANSWERED) <= 50 + sum(answers.values())
        assert gateway.scraped("vitrine_in_flight_requests") == 1.0, "what the killed one had in hand is not in flight"


def test_all_workers_finish_what_they_have_and_nothing_stays(stack: Running) -> None:
    with serving(stack, 2, VITRINE_DRAIN_SECONDS="0.5") as gateway:
        workers = gateway.workers()
        head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        halves = []
        for _ in range(50):
            half = socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), timeout=30)
            half.sendall(head.encode() + PICTURE[:10])
            halves.append(half)
        until(lambda: gateway.scraped("vitrine_in_flight_requests") == 51)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{gateway.url}/readyz").status_code == 503)
        for half in halves:
            half.sendall(PICTURE[10:])
            assert half.recv(100).startswith(b"HTTP/1.1 200")
            half.close()
        assert gateway.process.wait(30) == 0
        assert not any(alive(pid) for pid in workers)
        assert list(gateway.temporary.iterdir()) == []


def test_workers_whose_parent_is_killed_end(stack: Running) -> None:
    with serving(stack, 2) as gateway:
        workers = gateway.workers()
        gateway.process.kill()
        until(lambda: not any(alive(pid) for pid in workers))
        assert list(gateway.temporary.iterdir()) == []


@pytest.mark.parametrize("workers", ["0", "many"])
def test_a_number_of_workers_is_a_number_of_workers(workers: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, "VITRINE_WORKERS": workers},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "VITRINE_WORKERS" in done.stderr
