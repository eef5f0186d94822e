"""The gateway behind a real socket, over a fake Triton: early answers, clients that leave, and how it ends."""

import asyncio
import resource
import signal
import threading
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.api.deps import services_in
from tests.fakes import FakeBackend, a_picture, encoded
from tests.processes import free_port
from tests.serving import a_get, say, serving
from tests.waiting import until_true

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")


async def test_a_client_that_sends_everything_first_sees_that_it_was_too_much(backend: FakeBackend) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n%b\r\n"
    async with serving(backend) as (_, port):
        for declared, chunks in (
            (b"Content-Length: 3000000\r\n", [b"x" * 50_000] * 60),
            (b"Transfer-Encoding: chunked\r\n", [b"c350\r\n" + b"x" * 50_000 + b"\r\n"] * 60 + [b"0\r\n\r\n"]),
        ):
            (answer,) = await say(port, head % declared, *chunks)
            assert answer.outcome == (413, "body_too_large")


async def test_a_unix_socket_serves_and_takes_the_place_of_one_that_was_left(
    backend: FakeBackend, tmp_path: Path
) -> None:
    path = tmp_path / "vitrine.sock"
    for _ in range(2):
        async with serving(backend, host=f"unix:{path}"):
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                assert (await client.post("/v1/classify", content=GREEN)).status_code == 200
        assert path.is_socket()


async def test_a_client_that_leaves_has_its_call_cancelled(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serving(backend) as (_, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GREEN) + GREEN)
        await backend.reached.wait()
        writer.close()
        wanted = 'vitrine_requests_total{fault="caller",route="/v1/classify",status="cancelled"} 1.0'
        found = ""
        for _ in range(500):
            found = (await client.get("/metrics")).text
            if wanted in found:
                break
            await asyncio.sleep(0.01)
        assert wanted in found


async def test_the_end_waits_for_what_is_in_flight_and_says_so_first(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serving(backend, drain_seconds=0.5) as (server, port):
        url = f"http://127.0.0.1:{port}"
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=url, limits=limits) as client:
            posts = [asyncio.create_task(client.post("/v1/classify", content=GREEN)) for _ in range(50)]
            await until_true(lambda: len(backend.calls) == 50)
            server.handle_exit(signal.SIGTERM, None)
            server.handle_exit(signal.SIGTERM, None)
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["code"]) == (503, "draining")
            assert (await client.get("/livez")).status_code == 200
            await until_true(lambda: not server.servers[0].sockets)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            backend.hold.set()
            assert {(await post).status_code for post in posts} == {200}


async def test_metrics_may_have_a_port_of_their_own_that_answers_when_the_api_is_full(backend: FakeBackend) -> None:
    apart = free_port()
    async with serving(backend, metrics_port=apart, max_connections=1) as (_, port):
        assert [answer.status for answer in await say(port, a_get("/metrics", Connection="close"))] == [404]
        for path in ("/livez", "/docs", "/v1/models"):
            assert [answer.status for answer in await say(apart, a_get(path, Connection="close"))] == [404]
        _, taken = await asyncio.open_connection("127.0.0.1", port)
        taken.write(b"GET /livez HTTP/1.1\r\n")
        await asyncio.sleep(0.05)
        assert [answer.status for answer in await say(port, a_get(Connection="close"))] == [503]
        (answer,) = await say(apart, a_get("/metrics", Connection="close"))
        assert answer.status == 200
        assert b"vitrine_ready 1.0" in answer.body
        assert b'vitrine_rejections_total{fault="shed",reason="overloaded"} 1.0' in answer.body
        taken.close()


class Threads(Collector):
    """Has no metrics; notes the threads that ask for them."""

    def __init__(self) -> None:
        self.seen: set[threading.Thread] = set()

    def collect(self) -> list[Metric]:
        """See prometheus_client."""
        self.seen.add(threading.current_thread())
        return []


async def test_metrics_are_put_together_in_a_thread(client: httpx.AsyncClient, app: FastAPI) -> None:
    threads = Threads()
    services_in(app).metrics.exposed.register(threads)
    threads.seen.clear()  # The registry asked as well.
    answer = await client.get("/metrics")
    assert len(threads.seen) == 1
    assert threading.current_thread() not in threads.seen
    assert answer.text.count("# HELP vitrine_ready ") == 1


async def test_what_is_refused_before_it_is_a_request_is_counted(backend: FakeBackend) -> None:
    async with serving(backend) as (_, port):
        await say(port, b"NONSENSE\r\n\r\n")
        await say(port, a_get(X="y" * 40_000))
        (answer,) = await say(port, a_get("/metrics", Connection="close"))
    for reason in ("request_malformed", "headers_too_large"):
        assert f'vitrine_rejections_total{{fault="caller",reason="{reason}"}} 1.0'.encode() in answer.body


async def test_files_are_allowed_for_the_connections(backend: FakeBackend) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        async with serving(backend, max_connections=300):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(600, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
