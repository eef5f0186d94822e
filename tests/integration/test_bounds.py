"""What one client can cost, on the real stack: slow senders, files dear to decode, and the worst pictures together."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest
from PIL import Image

from benchmarks.http import Connection
from benchmarks.memory import Case, cases, need_of
from embedded.supervisor import Options
from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running, running
from tests.integration.entries import publish_colours
from tests.unit.service.test_structure import with_scans
from tests.waiting import until

CLASSIFY = "/v1/models/colours/classify"
PICTURE = encoded(a_picture((0, 200, 0), (500, 375)), "JPEG")
BUDGET = 400_000_000
SLOW = 200
CASES = list(cases(1_601))
"""2.5 megapixels of every format and mode."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack with a small budget of memory, and more threads than it is enough for."""
    repository = tmp_path_factory.mktemp("bounds") / "repository"
    repository.mkdir()
    publish_colours(repository)
    settings = {"VITRINE_MEMORY_BYTES": str(BUDGET), "VITRINE_DECODE_THREADS": "8", "VITRINE_DEADLINE_SECONDS": "60"}
    with running(repository, Options(repository).gateway, settings) as started:
        yield started


@pytest.fixture
def client(small: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=small.stack.gateway_url, timeout=60) as client:
        until(lambda: client.post(CLASSIFY, content=PICTURE).status_code == 200)
        yield client


def status_of(stack: Running, field: str) -> int:
    """Bytes of the gateway: in memory now (VmRSS), or at most since the last look (VmHWM)."""
    lines = Path(f"/proc/{stack.stack.gateway_pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_decoding_takes_no_more_than_was_counted(case: Case) -> None:
    need = need_of(case.content)
    assert need.measured <= need.counted + 2_000_000, "a page here and there"


def test_the_worst_pictures_together_stay_in_the_budget(small: Running, client: httpx.Client) -> None:
    """25 megapixels each, in eight threads, of which two or three fit: the others wait, or are told to come again."""
    side = 5_000
    worst = [
        encoded(Image.new(mode, (side, side), colour), picture_format, **options)
        for mode, colour, picture_format, options in (
            ("RGBA", (0, 200, 0, 255), "PNG", {}),
            ("RGB", (0, 200, 0), "JPEG", {"progressive": True, "subsampling": 0}),
            ("RGB", (0, 200, 0), "TIFF", {"compression": "tiff_lzw", "tiffinfo": {274: 6}}),
            ("I;16", 0, "PNG", {}),
            ("CMYK", (255, 0, 255, 50), "JPEG", {}),
        )
    ]
    before = status_of(small, "VmRSS")
    Path(f"/proc/{small.stack.gateway_pid}/clear_refs").write_text("5")
    answers: Counter[tuple[int, bool]] = Counter()

    async def send(contents: Iterator[bytes]) -> None:
        async with httpx.AsyncClient(base_url=small.stack.gateway_url, timeout=60) as mine:
            for content in contents:
                answer = await mine.post(CLASSIFY, content=content)
                answers[answer.status_code, "retry-after" in answer.headers] += 1

    async def send_all() -> None:
        contents = islice(cycle(worst), 40)
        await asyncio.gather(*(send(contents) for _ in range(16)))

    asyncio.run(send_all())
    assert set(answers) <= {(200, False), (503, True)}
    assert answers[200, False] >= 8
    most = status_of(small, "VmHWM") - before
    print(f"\n{dict(answers)}, {most / 1e6:.0f} MB more at most, of a budget of {BUDGET / 1e6:.0f}")  # noqa: T201
    assert most < BUDGET
    for content in worst:
        assert client.post(CLASSIFY, content=content).status_code == 200


def test_what_can_never_fit_says_so(client: httpx.Client) -> None:
    answer = client.post(CLASSIFY, content=encoded(Image.new("RGB", (6_000, 6_000)), "WEBP", lossless=True))
    assert (answer.status_code, answer.json()["code"]) == (413, "image_too_large")
    assert "at most 300 MB" in answer.json()["detail"]


async def test_a_thousand_scans_are_refused_while_photographs_are_answered(small: Running) -> None:
    content, answers, took = with_scans(1_000), Counter[int](), []

    async def photographs() -> None:
        async with Connection(small.stack.gateway_url) as connection:
            for _ in range(50):
                answers[(await connection.post(CLASSIFY, PICTURE)).status] += 1

    async with Connection(small.stack.gateway_url) as connection:
        beside = asyncio.ensure_future(photographs())
        for _ in range(50):
            begun = time.perf_counter()
            answer = await connection.post(CLASSIFY, content)
            took.append(time.perf_counter() - begun)
            assert answer.status == 413
            assert b"image_too_complex" in answer.body
        await beside
    assert answers == {200: 50}
    print(f"\nrefused in {sorted(took)[25] * 1000:.1f} ms, the median of 50")  # noqa: T201


def test_slow_senders_keep_nobody_from_being_answered(small: Running, client: httpx.Client) -> None:
    """As many as three times the pictures that may be worked on at once."""
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode()
    form = head[:-2] + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disp"
    address = httpx.URL(small.stack.gateway_url)
    stop = threading.Event()
    with ExitStack() as opened:
        senders = [
            opened.enter_context(socket.create_connection((address.host, address.port or 80))) for _ in range(SLOW)
        ]
        for number, sender in enumerate(senders):
            sender.sendall((head[:20], head, form)[number % 3])

        def trickle() -> None:
            while not stop.wait(1):
                for sender in senders:
                    with suppress(OSError):  # Closed: its time was over.
                        sender.send(b"x")

        slowly = threading.Thread(target=trickle)
        slowly.start()
        try:
            for _ in range(30):
                assert client.post(CLASSIFY, content=PICTURE).status_code == 200
        finally:
            stop.set()
            slowly.join()


def test_bodies_that_stop_halfway_give_way(small: Running, client: httpx.Client) -> None:
    """Each holds 19 MB and sends no more; together they would have twice the memory that there is for bodies."""
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: 19000001\r\n\r\n".encode()
    address = httpx.URL(small.stack.gateway_url)
    before = status_of(small, "VmRSS")
    with ExitStack() as opened:
        for _ in range(12):
            sender = opened.enter_context(socket.create_connection((address.host, address.port or 80)))
            sender.sendall(head + bytes(19_000_000))
        assert client.post(CLASSIFY, content=PICTURE).status_code == 200
        assert status_of(small, "VmRSS") - before < BUDGET / 4 + 30_000_000


def test_the_memory_of_clients_that_left_is_there_for_others(small: Running, client: httpx.Client) -> None:
    """Twenty bodies fill what there is for bodies; as soon as their clients leave, it is free."""
    address = httpx.URL(small.stack.gateway_url)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000001\r\n\r\n".encode()
    before = status_of(small, "VmRSS")
    senders = [socket.create_connection((address.host, address.port or 80)) for _ in range(20)]
    for sender in senders:
        sender.sendall(head + bytes(4_000_000))
    until(lambda: in_flight(client) == len(senders) + 1)  # And the one that asks.
    for sender in senders:
        sender.close()
    begun = time.monotonic()
    until(lambda: in_flight(client) == 1)
    print(f"\nfree {time.monotonic() - begun:.2f} s after they left")  # noqa: T201
    large = encoded(Image.new("RGB", (2_500, 2_500), (0, 200, 0)), "BMP")
    assert [client.post(CLASSIFY, content=large).status_code for _ in range(4)] == [200] * 4
    assert status_of(small, "VmRSS") - before < BUDGET / 4


def in_flight(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vitrine_in_flight_requests"))
