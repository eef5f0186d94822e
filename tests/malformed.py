"""What clients send that is not as it should be: seeded conversations for the border of the parser."""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tests.serving import PATIENCE_S, a_get, a_post

SEED = int(os.environ.get("FUZZ_SEED", "1112"))
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")
_TARGETS = (
    b"*", b"http://other/livez", b"http://other", b"http://", b"//", b"/%", b"/%00", b"/%c3", b"/\xc3", b"/\xc3\xa9",
    b"/\0", b"livez", b"other:80", b"/../livez", b"/livez#x", b"/livez?" + b"q" * 9000, b"/" + b"p" * 40_000,
    b"/v1/models/%2e%2e", b"",
)  # fmt: skip
_HEADERS = (
    b"Host: other", b"Content-Length: 1", b"Content-Length: -1", b"Content-Length: +5", b"Content-Length: 5, 5",
    b"Content-Length: 99999999999999999999", b"Content-Length: 18446744073709551615", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding : chunked",
    b"Connection: close", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    b"Connection: upgrade\r\nUpgrade: websocket", b"Expect: 100-continue", b"Expect: gold", b" folded", b"\tfolded",
    b"X: a\0b", b"X: a\rb", b"X: a\nY: b", b"X: \xc3", b"\xc3: x", b"X", b":", b": x", b"X-Request-Timeout: nan",
    b"X-Request-Timeout: -1", b"X-Request-ID: " + b"i" * 200, b"Trailer: Host", b"TE: trailers",
    b"Content-Type: multipart/form-data; boundary=x; charset=punycode", b"Content-Type: multipart/form-data",
    b"Content-Type: application/json", b"traceparent: 00-\xff", b"Authorization: Bearer \xff", b"X: " + b"y" * 40_000,
)  # fmt: skip
_CHUNKS = (
    b"0\r\n\r\n", b"1\r\nx\r\n", b"5\r\nabc", b"-1\r\n", b"+1\r\nx\r\n", b"0x1\r\nx\r\n", b"\r\n", b"zz\r\n",
    b"1\nx\n", b"1\r\nxy\r\n", b"FFFFFFFFFFFFFFFF\r\nx", b"FFFFFFFFFFFFFFFFF\r\n", b"7FFFFFFFFFFFFFFF\r\nx",
    b"1 \r\nx\r\n", b"1;a=b\r\nx\r\n", b"1;\r\nx\r\n", b"1;" + b"e" * 40_000 + b"\r\nx\r\n",
    b"0\r\nHost: other\r\n\r\n", b"0\r\n" + b"T: r\r\n" * 9000, b"1\r\nx\r\n" * 9000, b"0" * 40_000,
)  # fmt: skip
_CHUNKED = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Conversation:
    """What one client sends on one connection."""

    parts: tuple[bytes, ...]
    half_close: bool
    """Whether it closes its side then; otherwise it waits until the gateway ends it."""


class Malformed:
    """Conversations without end, the same for a seed. `whole` is a picture."""

    def __init__(self, seed: int, whole: bytes) -> None:
        self._chance = random.Random(seed)  # noqa: S311 (nothing is secret here)
        self._form = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + whole + b"\r\n--x--\r\n"
        )
        self._valid = (
            a_get(),
            a_get("/v1/models", "HEAD"),
            a_post(whole),
            a_post(self._form, Content_Type="multipart/form-data; boundary=x"),
            a_post(b'{"image": "AAAA"}', Content_Type="application/json"),
            _CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole),
        )

    def __iter__(self) -> Iterator[Conversation]:
        kinds: tuple[Callable[[], bytes], ...] = (
            self._mutated, self._target, self._header, self._chunks, self._row, self._noise, self._cut, self._blank,
        )  # fmt: skip
        while True:
            text = self._chance.choice(kinds)()
            yield Conversation(self._split(text), self._chance.random() < 0.95)

    def _mutated(self) -> bytes:
        text = bytearray(self._chance.choice(self._valid))
        for _ in range(self._chance.choice((1, 1, 2, 4, 16))):
            at = self._chance.randrange(min(len(text), 300) or 1)
            match self._chance.randrange(5):
                case 0:
                    text[at : at + 1] = bytes([self._chance.randrange(256)])
                case 1:
                    text[at:at] = self._chance.choice(
                        (b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\xc3", b"\x80", b"0")
                    )
                case 2:
                    del text[at : at + self._chance.randrange(1, 30)]
                case 3:
                    text[at:at] = text[at : at + self._chance.randrange(1, 60)]
                case _:
                    text[at:at] = b"\r\n" + self._chance.choice(_HEADERS) + b"\r\n"
        return bytes(text)

    def _target(self) -> bytes:
        method = self._chance.choice((b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"X" * 99, b""))
        version = self._chance.choice(
            (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b"")
        )
        return b"%b %b %b\r\nHost: x\r\n\r\n" % (method, self._chance.choice(_TARGETS), version)

    def _header(self) -> bytes:
        first, rest = self._chance.choice(self._valid).split(b"\r\n", 1)
        return b"\r\n".join([first, *self._chance.choices(_HEADERS, k=self._chance.choice((1, 2, 3))), rest])

    def _chunks(self) -> bytes:
        return _CHUNKED + b"".join(self._chance.choices(_CHUNKS, k=self._chance.randrange(1, 6)))

    def _row(self) -> bytes:
        kinds = (lambda: self._chance.choice(self._valid), self._mutated, self._target, self._header)
        return b"".join(self._chance.choice(kinds)() for _ in range(self._chance.randrange(2, 40)))

    def _noise(self) -> bytes:
        return self._chance.randbytes(self._chance.choice((1, 20, 3000)))

    def _cut(self) -> bytes:
        text = self._chance.choice(self._valid)
        return text[: self._chance.randrange(len(text))]

    def _blank(self) -> bytes:
        return b"\r\n" * self._chance.choice((1, 50, 50_000)) + self._chance.choice(self._valid)

    def _split(self, text: bytes) -> tuple[bytes, ...]:
        if len(text) > 2000 or self._chance.random() < 0.8:
            return (text,)
        size = self._chance.randrange(1, 200)
        return tuple(text[at : at + size] for at in range(0, len(text), size))


@dataclass
class Outcomes:
    """What the gateway answered to so many conversations."""

    statuses: Counter[int] = field(default_factory=Counter)
    """0 counts the conversations that had no answer."""
    unexpected: list[tuple[Conversation, bytes]] = field(default_factory=list)
    """Those that were answered with a 5xx that is not `overloaded`, and the answers."""


async def converse(port: int, conversations: Iterator[Conversation], clients: int) -> Outcomes:
    """Lead all conversations, so many at a time. A connection that does not end in time is a failure."""
    outcomes = Outcomes()

    async def client() -> None:
        for each in conversations:
            answered = await asyncio.wait_for(_answered(port, each), PATIENCE_S)
            statuses = [int(found) for found in _STATUS.findall(answered)]
            outcomes.statuses.update(statuses or [0])
            if any(status >= 500 and (status != 503 or b"overloaded" not in answered) for status in statuses):
                outcomes.unexpected.append((each, answered))

    await asyncio.gather(*(client() for _ in range(clients)))
    return outcomes


async def _answered(port: int, conversation: Conversation) -> bytes:
    """All that comes back until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = bytearray()

    async def read() -> None:
        with suppress(ConnectionError):
            while some := await reader.read(65_536):
                answered.extend(some)

    reading = asyncio.create_task(read())
    with suppress(OSError):  # It may be closed under what is still sent.
        for part in conversation.parts:
            writer.write(part)
            await writer.drain()
        if conversation.half_close:
            writer.write_eof()
    await reading
    writer.close()
    return bytes(answered)
