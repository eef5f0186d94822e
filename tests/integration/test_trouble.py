"""Triton in trouble, under the gateway."""

import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from contract.config import to_pbtxt
from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running
from tests.integration.entries import COLOURS, DATA, colours_config, publish
from tests.waiting import until

PICTURE = encoded(a_picture((0, 200, 0), (8, 8)))
CLASSIFY = "/v1/models/colours/classify"
TRITON_COUNTS_S = 2.5
"""Triton renews its metrics every two seconds."""


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


def test_a_model_that_answers_nan_names_no_class(stack: Running, client: httpx.Client) -> None:
    publish(stack.repository, "broken", to_pbtxt(colours_config("broken")), DATA / "nan.onnx", COLOURS)
    try:
        until(lambda: client.get("/v1/models/broken").status_code == 200)
        answer = client.post("/v1/models/broken/classify", content=PICTURE)
        assert (answer.status_code, answer.json()["code"]) == (502, "model_output_invalid")
        counted = 'vitrine_images_total{model="broken",outcome="model_output_invalid"} 1.0'
        assert counted in client.get("/metrics").text.splitlines()
    finally:
        (stack.repository / "broken").rename(stack.repository.parent / "broken")
        until(lambda: client.get("/v1/models/broken").status_code == 404)


def test_a_deadline_that_has_passed_is_not_worked_on(stack: Running, client: httpx.Client) -> None:
    before = executed(stack)
    for _ in range(20):
        answer = client.post(CLASSIFY, content=PICTURE, headers={"X-Request-Timeout": "0.00001"})
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    time.sleep(TRITON_COUNTS_S)
    assert executed(stack) == before


def test_what_clients_left_is_cancelled_in_triton(stack: Running, client: httpx.Client) -> None:
    triton = stack.stack.triton_pid
    assert triton is not None
    before = executed(stack)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode()
    os.kill(triton, signal.SIGSTOP)
    try:
        left = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", client.base_url.port or 80))
            connection.sendall(head + PICTURE)
            left.append(connection)
        until(lambda: in_flight(client) == 21)
        for connection in left:
            connection.close()
        until(lambda: in_flight(client) == 1)
    finally:
        os.kill(triton, signal.SIGCONT)
    until(lambda: client.post(CLASSIFY, content=PICTURE).status_code == 200)
    time.sleep(TRITON_COUNTS_S)
    # A call or two were read before the signal reached every thread of Triton's.
    assert executed(stack) - before < 10


def in_flight(client: httpx.Client) -> float:
    """With the one that asks."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("vitrine_in_flight_requests ")))


def executed(stack: Running) -> float:
    """Pictures of `colours` that Triton has run."""
    lines = httpx.get(stack.stack.metrics_url).text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith('nv_inference_count{model="colours"'))
