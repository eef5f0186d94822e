"""Servers for the client: the gateway over a fake Triton, and one that answers what it is told to."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import FakeBackend, an_entry
from tests.serving import serving

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


@pytest.fixture
def backend() -> FakeBackend:
    fake = FakeBackend()
    fake.serve(an_entry(build={"precision": "fp32", "accuracy.top1": "50.0"}))
    return fake


@pytest.fixture
async def url(backend: FakeBackend) -> AsyncIterator[str]:
    """A gateway's."""
    async with serving(backend, refresh_seconds=0.01) as (_, port):
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str


async def vitrine(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> Ran:
    """Run the command as a person would."""
    command = [sys.executable, "-W", "error", "-m", "vitrine", *map(str, arguments)]
    surroundings = {"PYTHONPATH": str(ROOT), "COLUMNS": "100", **environment}
    process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1, stderr=-1, env=surroundings, cwd=ROOT)
    out, err = await asyncio.wait_for(process.communicate(stdin), PATIENCE_S)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape"))


@dataclass
class Scripted:
    """A server that gives one answer after the other, and the last for ever."""

    answers: Sequence[bytes]
    heads: list[str] = field(default_factory=list)
    """Of the requests."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        length = next((int(line.split(": ")[1]) for line in head.splitlines() if line.startswith("Content-Length")), 0)
        await reader.readexactly(length)
        writer.write(self.answers[min(len(self.heads), len(self.answers)) - 1])
        await writer.drain()
        writer.close()


def said(status: int, body: str, **headers: str) -> bytes:
    """A whole answer; `headers` with `_` for `-`."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{lines}\r\n{body}".encode()


def problem(status: int, code: str, **headers: str) -> bytes:
    """A problem document."""
    return said(status, f'{{"title": "T", "detail": "d", "code": "{code}", "request_id": "r"}}', **headers)


CLASSES = said(200, '{"model": "m", "version": "1", "predictions": [], "warnings": []}')


class Servers:
    """Starts scripted servers, and says where they are."""

    async def __aenter__(self) -> "Servers":
        self._started: list[asyncio.Server] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._started:
            server.close()
            await server.wait_closed()

    async def start(self, *answers: bytes) -> tuple[str, Scripted]:
        """One more."""
        scripted = Scripted(answers)
        server = await asyncio.start_server(scripted.answer, "127.0.0.1", 0)
        self._started.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", scripted


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with Servers() as started:
        yield started
