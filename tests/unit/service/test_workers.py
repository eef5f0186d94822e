"""Several workers as processes, without a Triton: how they end, and what is told of them."""

import os
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import httpx

from tests.processes import alive, command, descendants, free_port, listeners, listens
from tests.unit.service.test_main import started
from tests.waiting import until

NOBODY: dict[str, str] = {"VITRINE_TRITON_URL": "127.0.0.1:1", "VITRINE_WORKERS": "2"}
HALF = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhello"


def workers_of(process: subprocess.Popen[str]) -> set[int]:
    return {pid for pid in descendants(process.pid) if "spawn_main" in command(pid) and alive(pid)}


def scraped(port: int) -> str:
    """The metrics, or nothing where there are none."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    except httpx.TransportError:
        return ""


def test_workers_that_cannot_start_end_the_parent_with_the_reason() -> None:
    with tempfile.TemporaryFile("w") as keys:
        keys.write("shop sha256:" + "0" * 64)
        keys.flush()
        os.dup2(keys.fileno(), 99)  # Its workers do not inherit it.
    try:
        settings = {**NOBODY, "VITRINE_API_KEYS_FILE": "/dev/fd/99", "VITRINE_PORT": str(free_port())}
        with started(settings, pass_fds=(99,)) as process:
            output, _ = process.communicate(timeout=120)
    finally:
        os.close(99)
    assert process.returncode == 1
    assert "vitrine: the API keys /dev/fd/99 cannot be read" in output
    assert "ended (exit code 1); starting another" in output
    # The fifth and the sixth may end together.
    assert re.search(r"[56] workers in a row ended before they served: giving up", output)
    assert "Traceback" not in output


def test_while_workers_finish_new_connections_are_refused_and_do_not_hang() -> None:
    port = free_port()
    with started({**NOBODY, "VITRINE_PORT": str(port)}) as process:
        until(lambda: "vitrine_workers 2.0" in scraped(port))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as held:
            held.sendall(HALF)
            until(lambda: "vitrine_in_flight_requests 2.0" in scraped(port))
            process.send_signal(signal.SIGTERM)
            outcomes = [asked(port)]
            while outcomes[-5:] != ["refused"] * 5:  # Each worker stops at its own time.
                outcomes.append(asked(port))
            assert process.poll() is None
            held.sendall(b"world")
            assert held.recv(100).startswith(b"HTTP/1.1 ")
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(outcomes) <= {"answered", "refused"}


def asked(port: int) -> str:
    """How a new connection fares within seconds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return "answered" if connection.recv(100).startswith(b"HTTP/1.1 200") else "refused"
    except TimeoutError:
        return "hung"
    except ConnectionError:
        return "refused"


def test_the_metrics_port_is_one_workers_and_goes_on_with_the_next() -> None:
    port, metrics = free_port(), free_port()
    with started({**NOBODY, "VITRINE_PORT": str(port), "VITRINE_METRICS_PORT": str(metrics)}) as process:
        until(lambda: "vitrine_workers 2.0" in scraped(metrics))
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 404
        assert httpx.get(f"http://127.0.0.1:{metrics}/livez").status_code == 404
        (holder,) = (pid for pid in workers_of(process) if metrics in {at for _, at in listeners(pid)})
        os.kill(holder, signal.SIGKILL)
        until(lambda: holder not in workers_of(process) and "vitrine_workers 2.0" in scraped(metrics))
        assert len([pid for pid in workers_of(process) if metrics in {at for _, at in listeners(pid)}]) == 1
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not listens(metrics)


def test_a_port_that_is_taken_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    assert not list(tmp_path.iterdir())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for workers in ("1", "2"):
            port = str(taken.getsockname()[1])
            settings = {**NOBODY, "VITRINE_PORT": port, "VITRINE_WORKERS": workers, "TMPDIR": str(tmp_path)}
            with started(settings) as process:
                output, _ = process.communicate(timeout=60)
            assert process.returncode == 3
            assert "in use" in output
            assert "Traceback" not in output
    assert not list(tmp_path.iterdir())
