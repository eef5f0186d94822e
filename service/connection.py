"""What a client may send and hold on one connection, so that none harms the others: bytes, time, requests in a row.

The time of a body is bounded by who reads it, its size by `service.api.incoming`.
"""

import asyncio
import socket
from typing import Any

from service.errors import HeadersTooLarge, Overloaded, VitrineError
from service.framing import Framing, size_of
from service.http11 import Http11

_PIPELINED = 32
"""Requests that may wait for the answer to the one before."""
_CROWDED_SECONDS = 1.0
"""What a connection too many gets to say what it wants."""
_SEND_SECONDS = 30
"""How long a client may take no byte of its answer."""


class Connection(Http11):
    """A connection with bounds. Of more than `most` one that is idle is closed, or the newest is refused with 503."""

    def __init__(self, *arguments: Any, most: int, head_seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._most, self._head_seconds = most, head_seconds
        self._framing = Framing()
        self._timer: asyncio.TimerHandle | None = None
        """Runs while a head is awaited."""
        self._crowded: Overloaded | None = None

    @property
    def idle(self) -> bool:
        """Whether it is kept between two requests."""
        return self.timeout_keep_alive_task is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        # The kernel's, as it alone knows what was taken (RFC 5482).
        connected = transport.get_extra_info("socket")
        if connected.family != socket.AF_UNIX:  # Whose other end cannot fall silent without being closed.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SEND_SECONDS * 1000)
        self._await_head(self._head_seconds)
        if len(self.connections) > self._most:
            self._make_room()

    def _make_room(self) -> None:
        others = (each for each in self.connections if isinstance(each, Connection) and each.idle)
        idle = next(others, None)
        if idle is not None:
            idle.transport.close()
        elif len(self.connections) > 2 * self._most:
            self.transport.abort()
        else:  # It is answered when it asks: an answer to no request confuses clients.
            self._crowded = Overloaded(f"{self._most} connections are open, which is the limit; try again later")
            self._await_head(_CROWDED_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self.deaf:
            super().data_received(data)
            return
        if self._crowded is not None:
            self.refuse(self._crowded)
            return
        self._framing.read(len(data))
        # Blank lines after a request are nothing (RFC 9112, 2.2): no head is to be awaited.
        if self.in_body or self._timer is not None or data.strip(b"\r\n"):
            super().data_received(data)
        try:
            self._framing.check()
        except HeadersTooLarge as error:
            if not self.deaf:
                self.refuse(error)

    def eof_received(self) -> bool:  # type: ignore[override] # see there
        """See asyncio."""
        self._head_came()
        return super().eof_received()

    def refuse(self, error: VitrineError) -> None:
        """See `Http11`."""
        self._head_came()
        super().refuse(error)

    def on_message_begin(self) -> None:
        """See httptools: a request begins, the first one or the next."""
        super().on_message_begin()
        if self._timer is None:
            self._await_head(self._head_seconds)

    def on_headers_complete(self) -> None:
        """See httptools.

        Raises:
            Overloaded: too many requests wait.
            VitrineError: see `Http11`.
        """
        if len(self.pipeline) >= _PIPELINED:
            raise Overloaded(f"{_PIPELINED} requests wait on this connection, which is the limit; read the answers")
        super().on_headers_complete()
        if self.in_body:
            self._head_came()
            self._framing.taken(size_of(self.url, self.headers))

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._framing.taken(len(body))
        super().on_body(body)

    def _await_head(self, seconds: float) -> None:
        self._head_came()
        self._timer = self.loop.call_later(seconds, self._head_is_late)

    def _head_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        if self.unanswered:  # Its time begins when the answers before it are there.
            self._await_head(self._head_seconds)
        else:
            self.transport.close()
