"""The bytes of a request as they come in: counted, refused over the limit, and discarded when nobody wants them."""

import anyio
from starlette.datastructures import Headers
from starlette.types import Message, Receive

from service.errors import BodyTooLarge

_LINGER_SECONDS = 2.0
_LINGER_BYTES = 50_000_000


class Body:
    """`receive` of one request."""

    def __init__(self, receive: Receive, headers: Headers, limit: int) -> None:
        declared = headers.get("content-length", "")
        self._declared = int(declared) if declared.isdecimal() else 0
        self._receive, self._limit = receive, limit
        self._received = 0
        self.unread = self._declared > 0 or "transfer-encoding" in headers
        """Whether there may be more to come."""

    async def receive(self) -> Message:
        """See ASGI.

        Raises:
            BodyTooLarge: the body is over the limit, by its declared length before it is read, or as it is counted.
        """
        if self._declared > self._limit:
            raise BodyTooLarge(f"the body has {self._declared} bytes; at most {self._limit} are accepted")
        message = await self._next()
        if self._received > self._limit:
            raise BodyTooLarge(f"the body has more than {self._limit} bytes, which is the limit")
        return message

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
