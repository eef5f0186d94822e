"""uvicorn's HTTP protocol with limits on what comes before the body, which it has none of: its size, and its time."""

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.errors import STATUS, problem
from service.errors import HeadersTooLarge, MalformedRequest, VitrineError

_HEAD_BYTES = 32_768
_HEAD_SECONDS = 10.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._refusal: VitrineError = MalformedRequest("this is not HTTP/1.1")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        if self._timer is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self._refuse_head()
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """See httptools: a request begins, the first one or the next."""
        super().on_message_begin()
        if self._timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._head_came()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _HEAD_BYTES:
            self._refuse_head()
            raise ValueError("the parser stops where a callback raises, and uvicorn asks for a 400")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's own words)
        """Refuse what is no request, as every error is answered."""
        error, request_id = self._refusal, uuid.uuid4().hex
        answer = problem(STATUS[type(error)], error.code, error.title, error.message, request_id)
        answer.headers["X-Request-ID"] = request_id
        answer.headers["Connection"] = "close"
        head = b"".join(b"%b: %b\r\n" % pair for pair in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 %d \r\n%b\r\n%b" % (answer.status_code, head, bytes(answer.body)))
        self.transport.close()

    def _refuse_head(self) -> None:
        self._refusal = HeadersTooLarge(f"the request line and its headers have more than {_HEAD_BYTES} bytes")

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
