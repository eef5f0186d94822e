"""How much memory a body takes while it is taken apart."""

import base64
import json
import tracemalloc

import pytest
from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Message

from service.api.body import Arrival, Expected, PictureIn, PicturesIn, _decoded, read_pictures
from service.api.incoming import COPIES, FORM, JSON, Body
from service.deadline import Deadline
from service.errors import RequestError
from service.memory import BodyMemory

CONTENT = bytes(range(256)) * 16_000
BOUNDARY = "x" * 20


def form(parts: int) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'.encode()
    return b"".join(head + CONTENT[::parts] + b"\r\n" for _ in range(parts)) + f"--{BOUNDARY}--\r\n".encode()


BODIES = {
    "raw": ("image/jpeg", CONTENT, Expected(1, PictureIn)),
    "form": (f"{FORM}; boundary={BOUNDARY}", form(1), Expected(1, PictureIn)),
    "form of several": (f"{FORM}; boundary={BOUNDARY}", form(8), Expected(8, PicturesIn)),
    "JSON": (JSON, json.dumps({"image": base64.b64encode(CONTENT).decode()}).encode(), Expected(1, PictureIn)),
    "JSON of several": (
        JSON,
        json.dumps({"images": [base64.b64encode(CONTENT[::8]).decode()] * 8}).encode(),
        Expected(8, PicturesIn),
    ),
}


SEVERAL = Expected(8, PicturesIn)
LETTERS = b"a" * 2_000_000
DEAR = {
    "numbers for pictures": (b'{"images":[' + b"1," * 500_000 + b"1]}", SEVERAL),
    "lists beside them": (b'{"images":[],"x":[' + b"[]," * 500_000 + b"1]}", SEVERAL),
    "empty pictures": (b'{"images":[' + b'"",' * 500_000 + b'""]}', SEVERAL),
    "a key": (b'{"' + LETTERS + b'":1}', SEVERAL),
    "a wide character": (b'{"image":" ' + LETTERS + "\N{GRINNING FACE} ".encode() + b'"}', Expected(1, PictureIn)),
    "the same, escaped": (b'{"image":" ' + LETTERS + rb"\ud83d\ude00 " + b'"}', Expected(1, PictureIn)),
    "no base64": (b'{"image":"data:image/png;base64, ' + LETTERS + b'-*"}', Expected(1, PictureIn)),
    "a picture in an object": (b'{"images":[{"x":"' + LETTERS + b'"}]}', SEVERAL),
}
"""JSON that takes more to read than it has bytes."""


@pytest.mark.parametrize("kind", DEAR)
def test_json_that_is_refused_takes_no_more_than_it_is_charged_for(kind: str) -> None:
    content, expected = DEAR[kind]
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            _decoded(content, expected)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(content) * (COPIES[JSON] - 1) + 300_000


def test_a_picture_whose_base64_is_escaped_is_read() -> None:
    text = base64.b64encode(CONTENT[:90_002]).decode()
    spelled = json.dumps({"image": text}).replace("/", "\\/").replace("=", "\\u003d")
    assert _decoded(spelled.encode(), Expected(1, PictureIn)) == [CONTENT[:90_002]]


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_takes_no_more_than_it_is_charged_for(kind: str) -> None:
    media_type, content, expected = BODIES[kind]
    at = 0

    async def receive() -> Message:
        nonlocal at
        at += 65_536
        return {"type": "http.request", "body": content[at - 65_536 : at], "more_body": at < len(content)}

    headers = Headers({"content-type": media_type, "transfer-encoding": "chunked"})
    held = BodyMemory(100_000_000, 20_000_000).body()
    body = Body(receive, headers, held)
    request = Request({"type": "http", "headers": headers.raw}, body.receive)
    tracemalloc.start()
    try:
        pictures = await read_pictures(request, Arrival(10, Deadline.after(10)), expected)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (
        b"".join(pictures)[: len(CONTENT) // 8]
        == (CONTENT if len(pictures) == 1 else CONTENT[::8])[: len(CONTENT) // 8]
    )
    assert peak < held.bytes + 300_000
    assert held.bytes == pytest.approx(len(content) * COPIES.get(media_type.partition(";")[0], 1.2), rel=0.01)
    assert held.finished
