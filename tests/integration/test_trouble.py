"""Triton in trouble, under the gateway."""

import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running
from tests.waiting import until

PICTURE = encoded(a_picture((0, 200, 0), (8, 8)))
CLASSIFY = "/v1/models/colours/classify"


@pytest.fixture
def client(stack: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.stack.gateway_url, timeout=30) as client:
        until(lambda: client.post(CLASSIFY, content=PICTURE).status_code == 200)
        yield client


def test_a_triton_that_hangs_costs_a_deadline_and_then_nothing(stack: Running, client: httpx.Client) -> None:
    triton = stack.stack.triton_pid
    assert triton is not None
    os.kill(triton, signal.SIGSTOP)
    try:
        # The signal takes a moment to reach every thread.
        asked = (client.post(CLASSIFY, content=PICTURE, headers={"X-Request-Timeout": "0.5"}) for _ in range(100))
        answer = next(answer for answer in asked if answer.status_code != 200)
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        until(lambda: client.get("/readyz").status_code == 503)
        # Without a deadline of its own: it is refused by what is known, and waits for nobody.
        answer = client.post(CLASSIFY, content=PICTURE)
        assert (answer.status_code, answer.json()["code"]) == (503, "triton_unavailable")
        timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
        assert "triton" not in timing
        assert client.get("/livez").status_code == 200
    finally:
        os.kill(triton, signal.SIGCONT)
    until(lambda: client.post(CLASSIFY, content=PICTURE).status_code == 200)
    assert stack.stack.triton_pid == triton


def test_what_is_asked_of_a_triton_that_dies_under_load_is_answered(stack: Running, client: httpx.Client) -> None:
    triton = stack.stack.triton_pid
    assert triton is not None
    answers: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=stack.stack.gateway_url, timeout=30) as mine:
            while not stop.is_set():
                answers[mine.post(CLASSIFY, content=PICTURE, headers={"X-Request-Timeout": "5"}).status_code] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: answers[200] > 20)
        os.kill(triton, signal.SIGKILL)
        until(lambda: answers[503] > 20)
        before = answers[200]
        until(lambda: answers[200] > before + 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answers) <= {200, 503}, answers
    metrics = client.get("/metrics").text.splitlines()
    assert "vitrine_in_flight_requests 1.0" in metrics, "the one that asks for the metrics"


def test_versions_come_and_go_under_load(stack: Running, client: httpx.Client) -> None:
    entry = stack.repository / "colours"
    staged = stack.repository.parent / "colours-2"
    answers: Counter[int] = Counter()
    versions: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=stack.stack.gateway_url, timeout=30) as mine:
            while not stop.is_set():
                answer = mine.post(CLASSIFY, content=PICTURE)
                answers[answer.status_code] += 1
                version = answer.json().get("version", answer.text)
                if not versions or versions[-1] != version:
                    versions.append(version)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        until(lambda: versions == ["1"])
        shutil.copytree(entry / "1", staged)
        staged.rename(entry / "2")
        until(lambda: versions == ["1", "2"])
        (entry / "2").rename(staged)
        until(lambda: versions == ["1", "2", "1"])
    finally:
        stop.set()
        thread.join()
        shutil.rmtree(staged, ignore_errors=True)
    assert set(answers) == {200}
    assert client.get("/v1/models/colours").json()["version"] == "1"


def test_a_broken_version_leaves_the_old_one_serving(stack: Running, client: httpx.Client) -> None:
    entry = stack.repository / "colours"
    staged = stack.repository.parent / "colours-broken"
    before = len(stack.lines)
    staged.mkdir()
    (staged / "model.onnx").write_bytes(b"not a graph")
    staged.rename(entry / "2")
    try:
        until(lambda: any("failed to load 'colours' version 2" in line for line in stack.lines[before:]))
        for _ in range(20):
            answer = client.post(CLASSIFY, content=PICTURE)
            assert (answer.status_code, answer.json()["version"]) == (200, "1")
    finally:
        (entry / "2").rename(staged)
        shutil.rmtree(staged)
