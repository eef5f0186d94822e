"""What surrounds every request, as pure ASGI: its id, its clock, its body limit, its metrics, its line in the log.

The outcome of a request is counted here and nowhere else.
"""

import json
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import RequestContext, bind_context
from service.api.errors import INTERNAL, problem
from service.errors import BodyTooLarge
from service.metrics import Metrics

access_log = logging.getLogger("vitrine.access")
_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_request_id(Headers(scope=scope).get("x-request-id")))
        bind_context(scope, context)
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = context.request_id
                if context.stages.seconds:
                    headers["Server-Timing"] = context.stages.server_timing()
                if context.code == BodyTooLarge.code:
                    headers["Connection"] = "close"  # the rest of the body is not read
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, self._limited(scope, receive), respond)
        except Exception:
            _log.exception("request %s failed", context.request_id)
            context.code = INTERNAL[0]
            if status:  # too late for another answer: let the server cut the connection
                raise
            answer = problem(500, *INTERNAL, "please report this with the request_id", context.request_id)
            await answer(scope, receive, respond)
        finally:
            self._metrics.in_flight.dec()
            self._record(scope, context, status)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, refusing a body over the limit: by its declared length before it is read, else as it comes."""
        limit = self._max_body_bytes
        declared = Headers(scope=scope).get("content-length", "")
        received = 0

        async def limited() -> Message:
            nonlocal received
            if declared.isdecimal() and int(declared) > limit:
                raise BodyTooLarge(f"the body has {declared} bytes; at most {limit} are accepted")
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLarge(f"the body has more than {limit} bytes, which is the limit")
            return message

        return limited

    def _record(self, scope: Scope, context: RequestContext, status: int) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, f"{status // 100}xx" if status else "cancelled").inc()
        if context.code:
            self._metrics.rejections.labels(context.code).inc()
        if context.stages.seconds:
            self._metrics.observe(context.stages)
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_id": context.request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "code": context.code,
            "seconds": round(context.stages.total(), 5),
            "stages": {stage: round(seconds, 5) for stage, seconds in context.stages.seconds.items()},
        }
        if context.cause is not None:
            line["cause"] = f"{type(context.cause).__name__}: {str(context.cause)[:500]}"
        access_log.info(json.dumps(line))


def _request_id(given: str | None) -> str:
    """The caller's id where it is harmless in a header and a log line, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
