"""HTTP/1.1 over a real socket: what is a request, in which order answers come, and how a connection ends."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tests.fakes import FakeBackend, a_picture, encoded
from tests.serving import a_get, a_post, answer_from, say, serving
from tests.waiting import until_true

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")
CHUNKED = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = {"Connection": "close"}


@pytest.fixture
async def port(backend: FakeBackend) -> AsyncIterator[int]:
    async with serving(backend) as (_, port):
        yield port


def head(*lines: str, line: str = "POST /v1/classify HTTP/1.1") -> bytes:
    return "".join(f"{each}\r\n" for each in (line, *lines, "")).encode("latin-1")


REFUSED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "nonsense": b"NONSENSE\r\n\r\n",
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "HTTP/1.2": a_get().replace(b"1.1", b"1.2"),
    "HTTP/2.0": a_get().replace(b"1.1", b"2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": head("Host: a", "Host: b"),
    "CR in a header": b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "bare LF": b"GET /livez HTTP/1.1\nHost: x\n\n",
    "bare LF after a header": b"GET /livez HTTP/1.1\r\nHost: x\n\r\n",
    "a folded header": head("Host: x", "X: a", " b"),
    "a blank before the colon": head("Host: x", "Transfer-Encoding : chunked"),
    "NUL in the path": a_get("/live\0z"),
    "NUL in a header": a_get(X="a\0b"),
    "half of a UTF-8 character in the path": a_get("/\xc3"),
    "a path that is none": a_get("livez"),
    "* for GET": a_get("*"),
    "CONNECT": head("Host: x:1", line="CONNECT x:1 HTTP/1.1"),
    "two lengths": head("Host: x", "Content-Length: 1", "Content-Length: 2") + b"a",
    "the same length twice": head("Host: x", "Content-Length: 1", "Content-Length: 1") + b"a",
    "a list of lengths": head("Host: x", "Content-Length: 1, 1") + b"a",
    "length and coding": head("Host: x", "Content-Length: 1", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "coding and length": head("Host: x", "Transfer-Encoding: chunked", "Content-Length: 1") + b"0\r\n\r\n",
    "a negative length": head("Host: x", "Content-Length: -1"),
    "a length with a sign": head("Host: x", "Content-Length: +1") + b"a",
    "a length in hexadecimal": head("Host: x", "Content-Length: 0x1") + b"a",
    "a length beyond 64 bits": head("Host: x", "Content-Length: 18446744073709551616"),
    "another coding first": head("Host: x", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "another coding": head("Host: x", "Transfer-Encoding: gzip"),
    "a coding twice": head("Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "a coding in HTTP/1.0": head("Transfer-Encoding: chunked", line="POST /v1/classify HTTP/1.0") + b"0\r\n\r\n",
    "a chunk size that is none": CHUNKED + b"xyz\r\n",
    "a chunk size with a sign": CHUNKED + b"-1\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\nab\r\n",
}
"""What ends a connection, as nobody can say what comes after it."""


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_read_or_in_two_ways_is_400_and_the_last(port: int, text: bytes) -> None:
    (answer,) = await say(port, text, a_get())
    assert answer.outcome == (400, "request_malformed")
    assert answer.headers["connection"] == "close"


ANSWERED = {
    "absolute form": (a_get("http://other/livez", **LAST), 200),
    "absolute form without a path": (a_get("http://other", **LAST), 200),
    "absolute form without a path, with a query": (a_get("http://other?a=b", **LAST), 200),
    "* for OPTIONS": (a_get("*", "OPTIONS", **LAST), 405),
    "HTTP/1.0": (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 with a body": (b"POST /v1/classify HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(GREEN) + GREEN, 200),
    "HTTP/1.0 that expects": (
        b"POST /v1/classify HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GREEN) + GREEN,
        200,
    ),
    "blank lines before it": (b"\r\n\r\n" + a_get(**LAST), 200),
    "a method that nobody knows here": (a_get("/livez", "PURGE", **LAST), 405),
    "half of a UTF-8 character, escaped": (a_get("/v1/models/%c3", **LAST), 404),
    "NUL, escaped": (a_get("/v1/models/%00", **LAST), 404),
    "half of a UTF-8 character in a header": (a_get(X="\xc3", **LAST), 200),
    "an expectation that nobody knows": (a_post(GREEN, Expect="gold", **LAST), 200),
    "a length of 64 bits": (head("Host: x", "Content-Length: 18446744073709551615"), 413),
    "a chunk size of 64 bits": (CHUNKED + b"FFFFFFFFFFFFFFFF\r\n" + b"x" * 300_000, 413),
}


@pytest.mark.parametrize(("text", "status"), ANSWERED.values(), ids=ANSWERED)
async def test_what_is_odd_but_right_is_answered(port: int, text: bytes, status: int) -> None:
    (answer,) = await say(port, text)
    assert answer.status == status


async def test_chunks_with_leading_zeros_extensions_and_trailers_are_a_body(port: int) -> None:
    chunks = b"000%x;name=value\r\n%b\r\n0;last\r\nHost: other\r\nAuthorization: none\r\n\r\n" % (len(GREEN), GREEN)
    first, second = await say(port, CHUNKED + chunks, a_get(**LAST))
    assert (first.status, second.status) == (200, 200)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize(
    "offer",
    [
        {
            "Connection": "Upgrade, HTTP2-Settings",
            "Upgrade": "h2c",
            "HTTP2-Settings": "AAMAAABkAAQBAAAAAAIAAAAA",
        },
        {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"Connection": "upgrade", "Upgrade": "TLS/1.0, HTTP/2.0"},
    ],
    ids=["h2c", "websocket", "others"],
)
async def test_an_offer_of_another_protocol_is_ignored(port: int, offer: dict[str, str], version: str) -> None:
    offered = a_post(GREEN, **offer).replace(b"HTTP/1.1", version.encode())
    cut = len(offered) - len(GREEN) + 20
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in (offered[:40], offered[40:cut], offered[cut:]):
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)  # So that each is read by itself, although nothing here depends on it.
    answers = [await answer_from(reader)]
    if version == "HTTP/1.1":
        writer.write(offered + offered + a_get(**LAST))
        answers += [await answer_from(reader) for _ in range(3)]
    writer.close()
    assert {answer.status for answer in answers} == {200}
    assert b"green" in answers[-1 if version == "HTTP/1.0" else -2].body


async def test_an_offer_does_not_keep_a_connection_that_is_to_close(port: int) -> None:
    offered = a_post(GREEN, Connection="close, Upgrade", Upgrade="h2c")
    (answer,) = await say(port, offered, a_get())
    assert answer.status == 200


async def test_requests_in_a_row_are_answered_in_their_order(port: int) -> None:
    row = a_post(GREEN), a_get("/nothing"), a_post(b"text"), a_get("/v1/models", **LAST)
    for parts in ([b"".join(row)], row, [b"".join(row)[at : at + 7] for at in range(0, len(b"".join(row)), 7)]):
        assert [answer.status for answer in await say(port, *parts)] == [200, 404, 415, 200]


async def test_what_cannot_be_read_is_answered_after_what_came_before_it(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serving(backend) as (_, port):
        for broken in (b"NONSENSE\r\n\r\n", CHUNKED + b"xyz\r\n"):
            backend.hold.clear()
            backend.reached.clear()
            saying = asyncio.create_task(say(port, a_post(GREEN) + broken, a_get()))
            await backend.reached.wait()
            await asyncio.sleep(0.05)
            assert not saying.done()
            backend.hold.set()
            assert [answer.status for answer in await saying] == [200, 400]


async def test_after_the_last_request_nothing_is_read(port: int) -> None:
    answers = await say(port, a_get(**LAST) + a_get("/nothing") + b"\0\0\0", b"\r\nNONSENSE")
    assert [answer.status for answer in answers] == [200]


@pytest.mark.parametrize(
    "rest", [b"", b"GET /liv", CHUNKED + b"5\r\nab"], ids=["nothing", "half a head", "half a body"]
)
async def test_a_client_that_closes_its_side_is_answered(port: int, rest: bytes) -> None:
    row = a_post(GREEN) + a_get("/nothing") + rest
    assert [answer.status for answer in await say(port, row, half_close=True)] == [200, 404]


async def test_a_client_that_closes_its_side_may_wait_long(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serving(backend) as (_, port):
        saying = asyncio.create_task(say(port, a_post(GREEN), half_close=True))
        await backend.reached.wait()
        await asyncio.sleep(1.2)  # Meanwhile it is asked whether it still reads.
        backend.hold.set()
        (answer,) = await saying
        assert answer.status == 200


async def test_half_a_request_and_no_more_is_dropped(port: int) -> None:
    assert await say(port, a_post(GREEN)[:-5], half_close=True) == []
    assert await say(port, b"GET /liv", half_close=True) == []
    assert await say(port, half_close=True) == []


async def test_who_expects_100_is_told_to_go_on(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    whole = a_post(GREEN, Expect="100-continue", **LAST)
    writer.write(whole[: -len(GREEN)])
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(GREEN)
    assert (await answer_from(reader)).status == 200
    writer.close()


async def test_a_client_that_resets_leaves_nothing_behind(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serving(backend) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(a_post(GREEN) * 3)
            await backend.reached.wait()
        await until_true(lambda: not server.server_state.connections and not server.server_state.tasks)
