"""The border of the parser on the real stack: broken conversations by the thousand, and clients that are slow."""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.http import Connection
from embedded.supervisor import Options
from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running, running
from tests.integration.test_soak import Process, show
from tests.malformed import SEED, Malformed, converse
from tests.serving import a_get, a_post, answers_from
from tests.waiting import until_true

ROOT = Path(__file__).parents[2]
PHOTO = (ROOT / "docs" / "images" / "cat.jpg").read_bytes()
MODEL = "cifar10_vit"
CLASSIFY = "/v1/classify"
CONVERSATIONS = int(os.environ.get("SOAK_MALFORMED", "100000"))
TENTHS = 10
CLIENTS = 24
SLOW = 200
SHORT = {"VITRINE_HEAD_TIMEOUT_SECONDS": "1", "VITRINE_READ_TIMEOUT_SECONDS": "1", "VITRINE_KEEP_ALIVE_SECONDS": "2"}


@pytest.fixture
def bundled(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The stack of `make run` with settings of the test's, new for each."""
    repository = ROOT / "model_repository"
    settings = {"VITRINE_DEFAULT_MODEL": MODEL, **request.param}
    with running(repository, Options(repository).gateway, settings) as started:
        yield started


class Beside:
    """Photographs, one after the other, until the block is left; every second on a connection of its own."""

    def __init__(self, url: str, pause: float = 0.05) -> None:
        self.answers: Counter[int] = Counter()
        self.slowest = 0.0
        self._url, self._pause = url, pause

    async def __aenter__(self) -> "Beside":
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._asking.cancel()
        with suppress(asyncio.CancelledError):
            await self._asking

    async def _ask(self) -> None:
        while True:
            async with Connection(self._url) as connection:
                for _ in range(2):
                    begun = time.perf_counter()
                    self.answers[(await connection.post(CLASSIFY, PHOTO)).status] += 1
                    self.slowest = max(self.slowest, time.perf_counter() - begun)
                    await asyncio.sleep(self._pause)


def port_of(stack: Running) -> int:
    return int(stack.stack.gateway_url.rpartition(":")[2])


@pytest.mark.soak
@pytest.mark.parametrize("bundled", [SHORT], indirect=True, ids=["short"])
async def test_broken_conversations_break_nothing(bundled: Running) -> None:
    print(f"\nFUZZ_SEED={SEED}")  # noqa: T201 (whoever repeats it needs it)
    process, begun = Process(bundled), time.perf_counter()
    conversations = islice(iter(Malformed(SEED, encoded(a_picture(), "JPEG"))), CONVERSATIONS)
    statuses: Counter[int] = Counter()
    memory, counts = [], []
    async with Beside(bundled.stack.gateway_url) as beside:
        for _ in range(TENTHS):
            outcomes = await converse(port_of(bundled), islice(conversations, CONVERSATIONS // TENTHS), CLIENTS)
            assert outcomes.unexpected == []
            statuses += outcomes.statuses
            memory.append(process.memory())
            counts.append(process.counts())
    show(
        f"{CONVERSATIONS} broken conversations, {CLIENTS} at a time, in {time.perf_counter() - begun:.0f} s",
        answered=dict(sorted(statuses.items())),
        photographs_beside=dict(beside.answers),
        slowest_photograph=f"{beside.slowest * 1000:.0f} ms",
        memory_after_each_tenth=", ".join(f"{each:.0f}" for each in memory) + " MB",
        threads_after_each_tenth=", ".join(str(each["threads"]) for each in counts),
        file_descriptors_after_each_tenth=", ".join(str(each["file descriptors"]) for each in counts),
    )
    assert set(beside.answers) == {200}
    assert memory[-1] - memory[0] < 30
    assert counts[-1]["file descriptors"] < counts[0]["file descriptors"] + CLIENTS


async def drip(port: int, whole: bytes, start: int) -> list[int]:
    """Send the first `start` bytes of a request, then a byte a second; the answers until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answering = asyncio.create_task(answers_from(reader))
    writer.write(whole[:start])
    for at in range(start, len(whole)):
        done, _ = await asyncio.wait([answering], timeout=1)
        if done:
            break
        writer.write(whole[at : at + 1])
    answers = await answering
    writer.close()
    return [answer.status for answer in answers]


FORM = a_post(
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + PHOTO + b"\r\n--x--\r\n",
    Content_Type="multipart/form-data; boundary=x",
)
SLOWLY = [
    pytest.param(a_get(X="y" * 100), 20, id="in the head"),
    pytest.param(a_post(PHOTO), len(a_post(PHOTO)) - len(PHOTO) + 10, id="in the body"),
    pytest.param(FORM, FORM.index(b"--x") + 20, id="in the head of a part"),
]
PATIENT = {
    "VITRINE_MAX_IN_FLIGHT": str(SLOW // 2),
    "VITRINE_HEAD_TIMEOUT_SECONDS": "5",
    "VITRINE_READ_TIMEOUT_SECONDS": "5",
}


@pytest.mark.parametrize("bundled", [PATIENT], indirect=True, ids=["patient"])
@pytest.mark.parametrize(("whole", "start"), SLOWLY)
async def test_clients_that_send_a_byte_a_second_do_not_hold_up_the_others(
    bundled: Running, whole: bytes, start: int
) -> None:
    slow = [asyncio.create_task(drip(port_of(bundled), whole, start)) for _ in range(SLOW)]
    await asyncio.sleep(1)  # Until they hold what they can.
    async with Beside(bundled.stack.gateway_url) as beside:
        ended = await asyncio.gather(*slow)
    assert {status for statuses in ended for status in statuses or [0]} <= {0, 408, 503}
    assert set(beside.answers) == {200}


@pytest.mark.soak
@pytest.mark.parametrize("bundled", [{}], indirect=True, ids=["as it is"])
async def test_a_client_that_does_not_take_its_answer_is_given_up(bundled: Running) -> None:
    process = Process(bundled)
    before = process.counts()["file descriptors"]
    asking = [socket.socket() for _ in range(10)]
    for each in asking:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        each.connect(("127.0.0.1", port_of(bundled)))
        each.sendall(a_get("/static-offline-docs/swagger-ui-bundle.js"))
    await until_true(lambda: process.counts()["file descriptors"] == before + len(asking))
    await until_true(lambda: process.counts()["file descriptors"] <= before)
    for each in asking:
        each.close()
