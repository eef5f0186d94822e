"""The gateway behind a real socket, over a fake Triton: early answers, clients that leave, and how it ends."""

import asyncio
import signal

import httpx
import pytest

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


async def test_a_client_that_leaves_has_its_call_cancelled(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serving(backend) as (_, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GREEN) + GREEN)
        await backend.reached.wait()
        writer.close()
        wanted = 'vitrine_requests_total{route="/v1/classify",status="cancelled"} 1.0'
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
        for wanted in (b"vitrine_ready 1.0", b'vitrine_requests_total{route="/metrics",status="2xx"}'):
            assert wanted in answer.body or wanted.startswith(b"vitrine_requests")
        taken.close()


async def test_metrics_do_not_hold_up_the_loop(backend: FakeBackend) -> None:
    async with serving(backend) as (server, port):
        looks = asyncio.create_task(say(port, *[a_get("/metrics")] * 20, a_get("/metrics", Connection="close")))
        beside = [answer.status for _ in range(5) for answer in await say(port, a_get(Connection="close"))]
        assert beside == [200] * 5
        assert [answer.status for answer in await looks] == [200] * 21
        assert server.started
