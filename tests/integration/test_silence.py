"""A network that drops Triton's packets and tells nobody, in front of a real Triton."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running
from tests.processes import free_port, listens
from tests.relay import Relay, relaying
from tests.waiting import until

PICTURE = encoded(a_picture((0, 200, 0), (8, 8)))
SECONDS = 8
"""Longer than a silent connection is kept, so that it must be replaced."""


@pytest.fixture
def relay(stack: Running) -> Iterator[Relay]:
    with relaying(int(stack.stack.grpc_address.partition(":")[2])) as started:
        yield started


@pytest.fixture
def client(relay: Relay) -> Iterator[httpx.Client]:
    """Of a gateway behind the relay, with a deadline longer than the test."""
    port = free_port()
    environment = {
        **os.environ,
        "VITRINE_TRITON_URL": f"127.0.0.1:{relay.port}",
        "VITRINE_PORT": str(port),
        "VITRINE_DEADLINE_SECONDS": "60",
    }
    with subprocess.Popen([sys.executable, "-m", "service"], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port))
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:
                until(lambda: asked(client) == (200, None))
                yield client
        finally:
            process.send_signal(signal.SIGTERM)


def asked(client: httpx.Client) -> tuple[int, str | None]:
    answer = client.post("/v1/models/colours/classify", content=PICTURE)
    return answer.status_code, answer.json().get("code")


def test_silence_is_noticed_and_its_end_too(relay: Relay, client: httpx.Client) -> None:
    relay.go_dark()
    began = time.monotonic()
    assert asked(client) == (503, "triton_unavailable"), "not 504, a minute later: what was with Triton is given up"
    until(lambda: client.get("/readyz").status_code == 503)
    while time.monotonic() - began < SECONDS:
        assert asked(client) == (503, "triton_unavailable")
        time.sleep(0.1)
    relay.light_up()
    until(lambda: asked(client) == (200, None))
    until(lambda: client.get("/readyz").status_code == 200)


def test_a_moment_of_silence_costs_nobody_an_answer(relay: Relay, client: httpx.Client) -> None:
    relay.go_dark()
    time.sleep(0.5)
    relay.light_up()
    assert asked(client) == (200, None)
