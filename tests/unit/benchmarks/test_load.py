"""Both loops against a server of a few lines: what they count, and what they refuse."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import Load, Server, closed_loop, open_loop

Answering = Callable[[int], bytes]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
BROKEN = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[Server]:
    """Gives the n-th request what `answer` says."""
    count, talks = 0, list[asyncio.Task[None] | None]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        talks.append(asyncio.current_task())
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(5)
                count += 1
                content = answer(count)
                writer.write(content)
                if b"close" in content:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield Server("it", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "/")
    await asyncio.gather(*filter(None, talks))


async def test_a_closed_loop_asks_again_and_again() -> None:
    async with serving(lambda _: OK) as server:
        found = await closed_loop(server, b"photo", 2, 0.2)
    assert len(found.samples_ms) > 2
    assert found.refused == 0
    assert found.rate == pytest.approx(len(found.samples_ms) / found.seconds)


async def test_an_open_loop_keeps_to_its_rate_and_counts_refusals() -> None:
    async with serving(lambda count: BUSY if count % 2 else OK) as server:
        found = await open_loop(server, b"photo", rate=200, seconds=0.5)
    sent = len(found.samples_ms) + found.refused
    assert sent == pytest.approx(100, abs=40)
    assert abs(found.refused - sent / 2) <= 1


@pytest.mark.parametrize("loop", ["closed", "open"])
async def test_another_answer_ends_it(loop: str) -> None:
    async with serving(lambda _: BROKEN) as server:
        work = closed_loop(server, b"photo", 1, 0.2) if loop == "closed" else open_loop(server, b"photo", 100, 0.2)
        with pytest.raises(RuntimeError, match="it answered 500"):
            await work


def test_what_nobody_answered_took_forever() -> None:
    assert Load((), 3, 1.0).percentile(99) == float("inf")
