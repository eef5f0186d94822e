"""The gateway as a process, without a Triton."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.processes import listens
from tests.waiting import until

COMMAND = [sys.executable, "-m", "service"]


@contextmanager
def started(settings: dict[str, str], pass_fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **settings}
    with subprocess.Popen(
        COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=pass_fds
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_an_unknown_setting_stops_the_start_with_one_line() -> None:
    with started({"VITRINE_PROT": "8080"}) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.startswith("vitrine: unknown setting VITRINE_PROT; known are")
    assert len(output.splitlines()) == 1


def test_without_triton_it_is_alive_and_not_ready_and_ends_cleanly(unused_tcp_port_factory: object) -> None:
    assert callable(unused_tcp_port_factory)
    port, nobody = unused_tcp_port_factory(), unused_tcp_port_factory()
    with (
        started({"VITRINE_PORT": str(port), "VITRINE_TRITON_URL": f"127.0.0.1:{nobody}"}) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        until(lambda: listens(port))
        assert client.get("/livez").status_code == 200
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "triton_unavailable")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in output


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
def test_without_keys_only_loopback_goes_without_a_warning(
    host: str, warned: bool, unused_tcp_port_factory: Callable[[], int]
) -> None:
    port = unused_tcp_port_factory()
    settings = {"VITRINE_PORT": str(port), "VITRINE_HOST": host, "VITRINE_TRITON_URL": "127.0.0.1:1"}
    with started(settings) as process:
        until(lambda: listens(port))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert ("without API keys" in output) is warned


def test_a_file_of_keys_that_is_not_there_stops_the_start_with_one_line() -> None:
    with started({"VITRINE_API_KEYS_FILE": "/no/such/file"}) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.startswith("vitrine: the API keys /no/such/file cannot be read")
    assert len(output.splitlines()) == 1


def test_a_unix_socket_in_use_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "vitrine.sock"
    settings = {"VITRINE_HOST": f"unix:{path}", "VITRINE_TRITON_URL": "127.0.0.1:1"}
    transport = httpx.HTTPTransport(uds=str(path))
    with started(settings) as first, httpx.Client(transport=transport, base_url="http://gateway") as client:
        until(path.is_socket)
        with started(settings) as second:
            output, _ = second.communicate(timeout=60)
        assert second.returncode == 3
        assert "Address already in use" in output
        assert client.get("/livez").status_code == 200
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
