"""The gateway's server in this event loop, over a fake Triton, and what is said to it byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from service.app import create_app
from service.server import Server, listen
from service.settings import Settings
from tests.fakes import FakeBackend
from tests.waiting import until_true

PATIENCE_S = 30.0
"""What an answer gets before a test fails; most need milliseconds."""


@asynccontextmanager
async def serving(backend: FakeBackend, **settings: object) -> AsyncIterator[tuple[Server, int]]:
    """The server, and its port."""
    chosen = Settings.model_validate({"port": 0, "max_body_bytes": 200_000, **settings})
    listener, metrics = listen(chosen)
    server = Server(create_app(chosen, backend), chosen, metrics)
    running = asyncio.create_task(server._serve([listener]))
    await until_true(lambda: server.started)
    try:
        yield server, listener.getsockname()[1]
    finally:
        if backend.hold is not None:
            backend.hold.set()
        server.should_exit = True
        await running


@dataclass(frozen=True)
class Said:
    """One answer."""

    status: int
    """0 where the connection closed without one."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def code(self) -> str:
        """Of a problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        code: str = json.loads(self.body)["code"]
        return code

    @property
    def outcome(self) -> tuple[int, str]:
        """Status, and the code where there is one."""
        return self.status, self.code if self.status >= 400 else ""


NOTHING = Said(0, {}, b"")


async def answer_from(reader: asyncio.StreamReader, method: str = "GET") -> Said:
    """The next final answer on a connection; `NOTHING` where it closes first."""
    while True:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        except (asyncio.IncompleteReadError, ConnectionError):
            return NOTHING
        line, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        status = int(line.split()[1])
        if status >= 200:
            length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
            return Said(status, headers, await asyncio.wait_for(reader.readexactly(length), PATIENCE_S))


async def answers_from(reader: asyncio.StreamReader, method: str = "GET") -> list[Said]:
    """Every answer until the connection closes."""
    answers: list[Said] = []
    while (answer := await answer_from(reader, method)) != NOTHING:
        answers.append(answer)
    return answers


async def say(port: int, *parts: bytes, half_close: bool = False, method: str = "GET") -> list[Said]:
    """Send each part on a connection of its own; every answer until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answering = asyncio.create_task(answers_from(reader, method))
    with suppress(OSError):  # It may be closed under what is still sent.
        for part in parts:
            writer.write(part)
            await writer.drain()
        if half_close:
            writer.write_eof()
    answers = await answering
    writer.close()
    return answers


def a_post(content: bytes, path: str = "/v1/classify", **headers: Any) -> bytes:
    """A whole request; `headers` with `_` for `-`."""
    given = {"Host": "x", "Content-Length": len(content), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + content


def a_get(path: str = "/livez", method: str = "GET", **headers: Any) -> bytes:
    """A whole request without a body."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"Host": "x", **headers}.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
