"""What one connection may send and hold, over a real socket."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from tests.fakes import FakeBackend, a_picture, encoded
from tests.serving import NOTHING, a_get, a_post, answer_from, say, serving

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")
CHUNKED = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MEGABYTES = 64


def memory() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def flood(start: bytes, piece: bytes) -> Iterator[bytes]:
    """`start`, and pieces without end."""
    yield start
    block = piece * (65_536 // len(piece) + 1)
    for _ in range(MEGABYTES * 16):
        yield block


async def poured(writer: asyncio.StreamWriter, blocks: Iterator[bytes]) -> int:
    """Bytes that could be sent until the connection was cut."""
    counted = 0
    with suppress(ConnectionError):
        for block in blocks:
            counted += len(block)
            writer.write(block)
            await writer.drain()
    return counted


FLOODS = {
    "headers": (b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
    "one header": (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ", b"y"),
    "a header's name": (b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"y"),
    "a path": (b"GET /", b"y"),
    "blank lines": (b"", b"\r\n"),
    "blank lines after a request": (a_get(), b"\r\n"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n"),
    "one trailer": (CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"y"),
    "trailers after a long body": (CHUNKED + b"1ffff\r\n" + b"x" * 0x1FFFF + b"\r\n0\r\n", b"X: y\r\n"),
    "a chunk's extension": (CHUNKED + b"1;x=", b"y"),
    "extensions of chunks of one byte": (CHUNKED, b"1;" + b"y" * 98 + b"\r\nx\r\n"),
    "chunks of one byte": (CHUNKED, b"1\r\nx\r\n"),
    "zeros of a chunk's size": (CHUNKED, b"0"),
}


@pytest.mark.parametrize(("start", "piece"), FLOODS.values(), ids=FLOODS)
async def test_what_is_no_body_is_refused_over_the_limit(backend: FakeBackend, start: bytes, piece: bytes) -> None:
    async with serving(backend) as (_, port):
        outcomes = [answer.outcome for answer in await say(port, *islice(flood(start, piece), 8))]
    assert outcomes == [(200, "")] * start.startswith(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") + [
        (431, "headers_too_large")
    ]


@pytest.mark.parametrize(("start", "piece"), FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_it_is_cut_off(backend: FakeBackend, start: bytes, piece: bytes) -> None:
    async with serving(backend, max_body_bytes=200_000_000) as (_, port):
        await say(port, a_post(GREEN, Connection="close"))
        before = memory()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        counted = await poured(writer, flood(start, piece))
        writer.close()
    assert counted < 16_000_000, "most of it is in the kernel's buffers"
    assert memory() - before < 20_000_000


async def test_a_body_in_small_pieces_is_a_body(backend: FakeBackend) -> None:
    chunks = b"".join(b"10\r\n%b\r\n" % (b"x" * 16) for _ in range(10_000)) + b"0\r\n\r\n"
    async with serving(backend) as (_, port):
        (answer,) = await say(port, CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + chunks)
        assert answer.outcome == (415, "media_type_unsupported")


async def test_a_head_that_does_not_come_is_given_up(backend: FakeBackend) -> None:
    async with serving(backend, head_timeout_seconds=0.2) as (_, port):
        assert await say(port, b"GET /livez HTTP/1.1\r\nHost:") == []
        assert await say(port, b"\r\n") == []
        assert await say(port) == []
        answers = await say(port, a_get(), a_get()[:20])
        assert [answer.status for answer in answers] == [200]


async def test_each_request_of_a_connection_has_its_own_time(backend: FakeBackend) -> None:
    async with serving(backend, head_timeout_seconds=0.5) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(4):  # Blank lines are no beginning of a head.
            writer.write(a_post(GREEN) + b"\r\n")
            assert (await answer_from(reader)).status == 200
            await asyncio.sleep(0.25)
        await asyncio.sleep(0.5)
        writer.write(a_get(Connection="close"))
        assert (await answer_from(reader)).status == 200
        writer.close()


async def test_an_answer_that_takes_long_is_no_late_head(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serving(backend, head_timeout_seconds=0.1) as (_, port):
        saying = asyncio.create_task(say(port, a_post(GREEN) + a_get()[:20]))
        await backend.reached.wait()
        await asyncio.sleep(0.3)
        backend.hold.set()
        assert [answer.status for answer in await saying] == [200]


async def test_a_connection_is_kept_as_long_as_the_setting_says(backend: FakeBackend) -> None:
    async with serving(backend, keep_alive_seconds=1) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(a_get())
            assert (await answer_from(reader)).status == 200
            await asyncio.sleep(0.2)
        assert await answer_from(reader) == NOTHING
        writer.close()


async def test_a_client_with_many_requests_in_a_row_must_read_the_answers(backend: FakeBackend) -> None:
    async with serving(backend) as (_, port):
        statuses = [answer.status for answer in await say(port, a_get() * 10_000)]
        assert statuses[-1] == 503
        assert 32 < len(statuses) < 40
        assert set(statuses[:-1]) == {200}


@pytest.fixture
async def crowded(backend: FakeBackend) -> AsyncIterator[int]:
    """The port of a gateway whose two connections are taken by heads that do not come."""
    async with serving(backend, max_connections=2) as (_, port):
        taken = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in taken:
            writer.write(b"GET /livez HTTP/1.1\r\n")
        await asyncio.sleep(0.05)
        yield port
        for _, writer in taken:
            writer.close()


async def test_one_connection_too_many_is_told_so_when_it_asks(crowded: int) -> None:
    for asked in (a_get(), a_post(b"x" * 150_000)):
        (answer,) = await say(crowded, asked)
        assert answer.outcome == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
    assert await say(crowded) == [], "one that asks nothing"


async def test_far_too_many_connections_are_closed_at_once(crowded: int) -> None:
    waiting = [await asyncio.open_connection("127.0.0.1", crowded) for _ in range(2)]
    assert await say(crowded) == []
    for _, writer in waiting:
        writer.close()


async def test_an_idle_connection_makes_room_for_one_that_asks(backend: FakeBackend) -> None:
    async with serving(backend, max_connections=2) as (_, port):
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in kept:
            writer.write(a_get())
            assert (await answer_from(reader)).status == 200
        for _ in range(2):
            assert [answer.status for answer in await say(port, a_get(Connection="close"))] == [200]
        for _, writer in kept:
            writer.close()
