"""An error as the bytes of an answer, for a connection that has no request to give to the application."""

import uuid

from service.api.deps import RequestContext
from service.api.errors import document
from service.errors import VitrineError
from service.stages import Stages


def refusal(error: VitrineError) -> bytes:
    """The whole answer, a problem document as every error is. The connection closes after it (RFC 9112, 9.6)."""
    request_id = uuid.uuid4().hex
    answer = document(error, RequestContext(request_id, Stages()))
    answer.headers["X-Request-ID"] = request_id
    answer.headers["Connection"] = "close"
    head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
    return b"HTTP/1.1 %d \r\n%b\r\n%b" % (answer.status_code, head, bytes(answer.body))
