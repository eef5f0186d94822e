"""What surrounds every request, as pure ASGI: its id, its clock, its key, its body limit, its metrics, its log line.

The outcome of a request is counted here and nowhere else.
"""

import json
import logging
import random
import re
import time

from opentelemetry.trace import Tracer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.deps import RequestContext, bind_context, is_api, is_open_inference, path_of
from service.api.errors import INTERNAL, answer_to, problem
from service.api.incoming import Body
from service.errors import ClientLeft, Fault, VitrineError
from service.keys import Keys
from service.memory import BodyMemory, HeldBody
from service.metrics import Metrics
from service.stages import Stages
from service.tracing import following, trace_id

access_log = logging.getLogger("vitrine.access")
_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """Wraps the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        keys: Keys | None,
        tracer: Tracer | None,
        bodies: BodyMemory,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._keys = keys
        self._tracer = tracer
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with following(headers):
            await self._answer(scope, headers, receive, send)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        context = RequestContext(
            _request_id(headers.get("x-request-id")), Stages(self._tracer), is_open_inference(scope)
        )
        bind_context(scope, context)
        held = self._bodies.body()
        body = Body(receive, headers, held, path_of(scope))
        answer = _Answer(send, context, body, held)
        self._metrics.in_flight.inc()
        try:
            self._admit(scope, headers, context)
            await self._app(scope, body.receive, answer.send)
        except VitrineError as error:
            await answer_to(error, context)(scope, receive, answer.send)
        except Exception:
            _log.exception("request %s failed", context.request_id)
            context.code, context.fault = INTERNAL[0], Fault.OURS
            if answer.status:  # too late for another answer: let the server cut the connection
                raise
            report = problem(500, *INTERNAL, "please report this with the request_id", context)
            await report(scope, receive, answer.send)
        finally:
            held.release()
            self._metrics.in_flight.dec()
            self._record(scope, context, answer.status)

    def _admit(self, scope: Scope, headers: Headers, context: RequestContext) -> None:
        """Ask for a key where keys are asked for. Probes, metrics and the documentation need none, nor does OPTIONS:
        browsers send none with it.
        """
        if self._keys and is_api(scope) and scope["method"] != "OPTIONS":
            kind, _, key = headers.get("authorization", "").partition(" ")
            context.caller = self._keys.admit(key.strip() if kind.lower() == "bearer" else None)

    def _record(self, scope: Scope, context: RequestContext, status: int) -> None:
        route = getattr(scope.get("route"), "path", "other")
        gone = context.code == ClientLeft.code or not status
        # A client that left before there was a status left no error either.
        fault = Fault.CALLER if gone else context.fault
        self._metrics.requests.labels(route, "cancelled" if gone else f"{status // 100}xx", fault.value).inc()
        if context.code:
            self._metrics.rejections.labels(context.code, fault.value).inc()
        if context.stages.seconds and status < 300 and not gone:
            # What failed ended early or late for its own reasons, and says nothing of how long an answer takes.
            self._metrics.observe(route, context.stages)
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_id": context.request_id,
            "trace_id": trace_id(),
            "method": scope["method"],
            "route": route,
            "caller": context.caller,
            "status": status,
            "code": context.code,
            "fault": fault.value,
            "seconds": round(context.stages.total(), 5),
            "stages": {stage: round(seconds, 5) for stage, seconds in context.stages.seconds.items()},
        }
        if context.cause:
            line["cause"] = context.cause
        access_log.info(json.dumps(line))


class _Answer:
    """`send`, adding the headers that every answer has; it lets the client see an answer that came early."""

    def __init__(self, send: Send, context: RequestContext, body: Body, held: HeldBody) -> None:
        self._send, self._context, self._body, self._held = send, context, body, held
        self.status = 0
        """0 until there is one."""

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._body.unread:
                self._held.release()  # Nobody needs it any more, and the client may take its time to read the answer.
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._context.request_id
            if self._context.stages.seconds:
                headers["Server-Timing"] = self._context.stages.server_timing()
            if self._body.unread:
                headers["Connection"] = "close"
        elif self._body.unread and not message.get("more_body", False):
            # Closing now would reset the connection under a client that still sends, and its answer would be lost.
            await self._send({**message, "more_body": True})
            await self._body.discard()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)


def _request_id(given: str | None) -> str:
    """The caller's id where it is harmless in a header and a log line, else a new one.

    It is no secret; the kernel's randomness would cost a system call, during which a decoding thread takes the lock.
    """
    return given if given and _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
