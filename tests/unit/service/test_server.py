"""The gateway behind a real socket, over a fake Triton: what comes in bytes, and how it ends."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from service import protocol
from service.app import create_app
from service.server import Server
from service.settings import Settings
from tests.fakes import FakeBackend, a_picture, an_entry, encoded
from tests.waiting import until_true

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")


@asynccontextmanager
async def serving(backend: FakeBackend, **settings: object) -> AsyncIterator[tuple[Server, int]]:
    """The server in this loop, and its port."""
    chosen = Settings.model_validate({"port": 0, "max_body_bytes": 200_000, **settings})
    server = Server(create_app(chosen, backend), chosen)
    running = asyncio.create_task(server._serve())
    await until_true(lambda: server.started)
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        if backend.hold is not None:
            backend.hold.set()
        server.should_exit = True
        await running


@pytest.fixture
def backend() -> FakeBackend:
    fake = FakeBackend()
    fake.serve(an_entry())
    return fake


async def said(port: int, *parts: bytes) -> tuple[int, bytes]:
    """Send each part; status and body of what comes back until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]) if head else 0, body


async def test_a_client_that_sends_everything_first_sees_that_it_was_too_much(backend: FakeBackend) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n%b\r\n"
    async with serving(backend) as (_, port):
        for declared, chunks in (
            (b"Content-Length: 3000000\r\n", [b"x" * 50_000] * 60),
            (b"Transfer-Encoding: chunked\r\n", [b"c350\r\n" + b"x" * 50_000 + b"\r\n"] * 60 + [b"0\r\n\r\n"]),
        ):
            status, body = await said(port, head % declared, *chunks)
            assert (status, json.loads(body)["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"y" * 64_000),
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"y" * 64_000),
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: %b" % (b"y" * 40_000),
    ],
    ids=["one header", "many headers", "path", "a header without an end"],
)
async def test_headers_have_a_limit(backend: FakeBackend, head: bytes) -> None:
    async with serving(backend) as (_, port):
        status, body = await said(port, head)
        assert (status, json.loads(body)["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "text", [b"\x16\x03\x01\x02\x00\x01", b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n"]
)
async def test_what_is_no_request_is_answered_as_every_error_is(backend: FakeBackend, text: bytes) -> None:
    async with serving(backend) as (_, port):
        status, body = await said(port, text)
        assert (status, json.loads(body)["code"]) == (400, "request_malformed")


async def test_a_head_that_does_not_come_is_given_up(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_HEAD_SECONDS", 0.05)
    async with serving(backend) as (_, port):
        assert await said(port, b"GET /livez HTTP/1.1\r\nHost:") == (0, b"")
        assert await said(port) == (0, b"")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(3):  # On one connection: each request has its own time.
                assert (await client.post("/v1/classify", content=GREEN)).status_code == 200
                await asyncio.sleep(0.04)


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
