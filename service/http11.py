"""HTTP/1.1 as RFC 9110 and RFC 9112 have it where uvicorn's protocol has not: order, half-closed clients, Upgrade."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import MalformedRequest, VitrineError
from service.framing import check_head, origin_form, without_offer
from service.refusal import refusal

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1_000_000
"""What is read and dropped after a refusal: closing at once would reset the connection under who still sends."""
_PROBE_SECONDS = 0.5
"""After a client's last byte: how soon, and how often, it is looked whether the client still reads."""


class Http11(HttpToolsProtocol):
    """A connection. A request that cannot be read is answered with a problem document, after those before it;
    `refused` is told.

    - Requests that were sent in a row are answered in order (RFC 9112, 9.3.2).
    - A client that has sent all it wants may close its side, and is answered (RFC 9112, 9.6).
    - An offer of another protocol is ignored (RFC 9110, 7.8), and so are trailers (RFC 9110, 6.5.1).
    """

    def __init__(self, *arguments: Any, refused: Callable[[VitrineError], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refused = refused
        self.in_body = False
        """A head is here, and its body not yet."""
        self.unanswered = 0
        """Requests whose heads came."""
        self.deaf = False
        """Nothing is parsed any more."""
        self._running: RequestResponseCycle | None = None
        """The oldest request that is not answered; `cycle` is the newest."""
        self._refusal: VitrineError | None = None
        self._dropped = 0
        self._probe: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if self._probe is not None:
            self._probe.cancel()
        _leave(self._running)  # uvicorn tells only the newest.
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self.deaf:
            self._dropped += len(data)
            if self._dropped > _LINGER_BYTES:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            ours = error.__context__
            self.refuse(ours if isinstance(ours, VitrineError) else MalformedRequest("this is not HTTP/1.1"))

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
            return
        except httptools.HttpParserUpgrade as offer:
            head = without_offer(self.parser.get_method(), self.parser.get_http_version(), self.url, self.headers)
            rest = head + data[offer.args[0] :]
        # To this parser what follows is in another protocol. Another one is given the head without the offer.
        self.parser = httptools.HttpRequestParser(self)
        self._parse(rest)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's may say that the transport stays
        """See asyncio: the client sends no more."""
        self.deaf = True
        if self.in_body and self._drop_unfinished():
            return False
        if self.unanswered:
            self._probe = self.loop.call_later(_PROBE_SECONDS, self._ask_whether_it_reads)
        return self.unanswered > 0

    def _ask_whether_it_reads(self) -> None:
        """Tell a client that awaits its answer from one that left: the latter's kernel refuses what is sent to it."""
        self._probe = self.loop.call_later(_PROBE_SECONDS, self._ask_whether_it_reads)
        connection: socket.socket = self.transport.get_extra_info("socket")
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        elif self._running and not self._running.response_started and self._running.scope["http_version"] == "1.1":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # Says nothing to who reads (RFC 9110, 15.2).

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if not self.in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See httptools.

        Raises:
            VitrineError: the request is refused; httptools hands it on as the context of its own error.
        """
        version = self.parser.get_http_version()
        check_head(self.parser.get_method(), version, self.url, self.headers)
        if self.parser.should_upgrade():
            return
        self.url = origin_form(self.url)
        self.expect_100_continue &= version != "1.0"  # RFC 9110, 10.1.1
        super().on_headers_complete()
        self.in_body = True
        self.unanswered += 1
        if not self.pipeline:
            self._running = self.cycle

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self.parser.should_upgrade():
            self.in_body = False
            super().on_message_complete()
            self.deaf = not self.parser.should_keep_alive()  # RFC 9112, 9.6

    def on_response_complete(self) -> None:
        """See uvicorn: a request is answered, and the next one may be."""
        self.unanswered -= 1
        self._running = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if not self.unanswered and not self.transport.is_closing():
            if self._refusal is not None:
                self._send(self._refusal)
            elif self.deaf:
                self.transport.close()

    def refuse(self, error: VitrineError) -> None:
        """Answer with `error` once what came before is answered; read no more, and close."""
        self._refusal, self.deaf = error, True
        running = self._running
        if self.in_body and self._drop_unfinished() and running and running.response_started:
            self.transport.close()
        elif not self.unanswered:
            self._send(error)

    def _drop_unfinished(self) -> bool:
        """Forget the request whose body does not come; whether it was being worked on."""
        self.in_body = False
        self.unanswered -= 1
        if self.pipeline:
            self.pipeline.popleft()
            return False
        _leave(self._running)
        return True

    def _send(self, error: VitrineError) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._refused(error)
        self.transport.write(refusal(error))
        with suppress(OSError):  # The client is gone.
            self.transport.write_eof()
        self._probe = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


def _leave(cycle: RequestResponseCycle | None) -> None:
    """Tell the application that nobody waits for its answer."""
    if cycle is not None and not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()
