"""The bytes of a request as they come in: counted, refused over the limits, and discarded when nobody wants them."""

import anyio
from starlette.datastructures import Headers
from starlette.types import Message, Receive

from service.api.coding import Unpacking
from service.errors import BodyTooLarge
from service.memory import HeldBody

FORM = "multipart/form-data"
JSON = "application/json"
OPEN_INFERENCE = "/v2"
"""What is before every path of the Open Inference Protocol."""
COPIES = {FORM: 2.2, JSON: 4.0}
"""Bytes in memory at most for each byte of a body of this media type: a form is parsed into files, each of which is
read; JSON becomes text, that becomes bytes, and they are decoded. Measured by tests/unit/service/test_body.py."""
_RAW_COPIES = 1.2
"""For other bodies: their buffer grows by an eighth at a time."""
TENSOR_HEAD_LENGTH = "Inference-Header-Content-Length"
"""The length of the JSON before tensors in a body of the Open Inference Protocol; without it all of it is JSON."""
MAX_TENSOR_HEAD_BYTES = 65_536
TENSOR_COPIES = {"JSON": 34.0, "binary": 2.4}
"""For bodies of that protocol: in JSON three bytes may become an object of 64; likewise measured."""
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 50_000_000


def media_type(headers: Headers) -> str:
    """The media type of a body, without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def copies(path: str, headers: Headers) -> float:
    """Bytes in memory at most for each byte of a request's body."""
    if path.startswith(f"{OPEN_INFERENCE}/"):
        return TENSOR_COPIES["binary" if TENSOR_HEAD_LENGTH in headers else "JSON"]
    return COPIES.get(media_type(headers), _RAW_COPIES)


class Body:
    """`receive` of one request."""

    def __init__(self, receive: Receive, headers: Headers, held: HeldBody, path: str = "") -> None:
        declared = headers.get("content-length", "")
        self._declared = int(declared) if declared.isdecimal() else 0
        self._copies = copies(path, headers)
        self._receive, self._held = receive, held
        self._limit = held.longest(self._copies)
        self._received = 0
        self._headers = headers
        self._unpacking: Unpacking | None = None
        self.unread = self._declared > 0 or "transfer-encoding" in headers
        """Whether there may be more to come."""

    async def receive(self) -> Message:
        """See ASGI.

        Raises:
            BodyTooLarge: the body is over the limit, by its declared length before it is read, or as it is counted.
            Overloaded: there is no memory for it.
            UnsupportedMedia: it is compressed in a way that is not read here.
            MalformedRequest: it is not what its Content-Encoding says.
        """
        if not self._received:
            self._unpacking = Unpacking.of(self._headers, self._limit)
        if self._declared > self._limit:
            raise BodyTooLarge(f"the body has {self._declared} bytes; at most {self._limit} are accepted")
        with self._held.waiting():
            message = await self._next()
        self._held.check()
        if self._received > self._limit:
            raise BodyTooLarge(f"the body has more than {self._limit} bytes, which is the limit")
        content = message.get("body", b"")
        if self._unpacking is not None and message["type"] == "http.request":
            content = await self._unpacking.unpack(content, self._grow, last=not self.unread)
            message = {**message, "body": content}
        else:
            self._grow(len(content))
        self._held.finished = not self.unread
        return message

    def _grow(self, by: int) -> None:
        self._held.grow(int(by * self._copies))

    async def discard(self) -> None:
        """Read on for a while, and forget it: so a client that sends all before it reads will see its answer."""
        most = self._received + _LINGER_BYTES
        with anyio.move_on_after(_LINGER_SECONDS):
            while self.unread and self._received < most:
                await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self.unread = message.get("more_body", False)
        return message
