"""Uploads that cost too much, beside ones that are as they should be, on the real stack."""

import io
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes import a_picture, encoded
from tests.integration.conftest import Running
from tests.waiting import until

PICTURE = encoded(a_picture((0, 200, 0), (8, 8)))
CLASSIFY = "/v1/models/colours/classify"
LIMIT = 20_000_000


@pytest.fixture
def client(stack: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.stack.gateway_url, timeout=60) as client:
        until(lambda: client.post(CLASSIFY, content=PICTURE).status_code == 200)
        yield client


@contextmanager
def normal_load(stack: Running) -> Iterator[Counter[int]]:
    """Valid requests, one after the other, until the block is left."""
    answers: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=stack.stack.gateway_url, timeout=60) as mine:
            while not stop.is_set():
                answers[mine.post(CLASSIFY, content=PICTURE).status_code] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        until(lambda: answers[200] > 0)
        yield answers
        seen = answers[200]
        until(lambda: answers[200] > seen)
    finally:
        stop.set()
        thread.join()


def memory_of(stack: Running) -> int:
    """Bytes of the gateway that are in memory."""
    status = Path(f"/proc/{stack.stack.gateway_pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header promises so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_a_chunked_body_over_the_limit_does_not_fill_the_memory(stack: Running, client: httpx.Client) -> None:
    before, peak = memory_of(stack), 0

    def endless() -> Iterator[bytes]:
        nonlocal peak
        for _ in range(600):  # 39 MB
            peak = max(peak, memory_of(stack))
            yield b"x" * 65_536

    with normal_load(stack) as answers:
        answer = client.post(CLASSIFY, content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert peak - before < 2 * LIMIT
    assert set(answers) == {200}


@pytest.mark.usefixtures("client")
def test_bombs_are_refused_by_their_headers(stack: Running) -> None:
    before = memory_of(stack)
    refused: Counter[tuple[int, str]] = Counter()

    def send() -> None:
        with httpx.Client(base_url=stack.stack.gateway_url, timeout=60) as mine:
            for _ in range(10):
                answer = mine.post(CLASSIFY, content=bomb(50_000, 50_000))
                refused[answer.status_code, answer.json()["code"]] += 1

    with normal_load(stack) as answers:
        threads = [threading.Thread(target=send) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert refused == {(413, "image_too_large"): 100}
    assert set(answers) == {200}
    assert memory_of(stack) - before < 50_000_000


@pytest.mark.parametrize("frames", [2, 1000])
@pytest.mark.parametrize("picture_format", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(client: httpx.Client, picture_format: str, frames: int) -> None:
    colours = [a_picture((0, 200, 0), (8, 8))] + [a_picture((number % 256, 0, 90), (8, 8)) for number in range(frames)]
    content = io.BytesIO()
    colours[0].save(content, picture_format, save_all=True, append_images=colours[1:], lossless=True)
    answer = client.post(CLASSIFY, content=content.getvalue())
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["label"] == "green"
    assert answer.json()["warnings"][0].startswith("first_frame_only")


def test_one_broken_picture_of_eight_has_its_error_in_its_place(client: httpx.Client) -> None:
    contents = [PICTURE] * 8
    contents[3] = PICTURE[:60]
    answer = client.post("/v1/models/colours/classify/batch", files=[("file", ("x", each)) for each in contents])
    assert answer.status_code == 200
    found = [each.get("error", {}).get("code", "ok") for each in answer.json()["results"]]
    assert found == ["ok"] * 3 + ["image_corrupt"] + ["ok"] * 4


def test_ten_thousand_parts_are_refused(client: httpx.Client) -> None:
    body = b"".join(b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' for _ in range(10_000)) + b"--x--"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post(CLASSIFY, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "request_malformed")
