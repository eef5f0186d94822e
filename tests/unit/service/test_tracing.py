"""Trace context comes in, is in the log, and goes on; spans are made where they are asked for."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service import tracing
from service.app import create_app
from service.settings import Settings, SettingsError
from service.tracing import outgoing
from tests.fakes import FakeBackend, a_picture, an_entry, encoded

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Listening(FakeBackend):
    """A Triton that keeps what it is told of the trace."""

    heard: tuple[tuple[str, str], ...] = ()

    async def infer(
        self, name: str, version: str, pixels: npt.NDArray[np.uint8], timeout: float
    ) -> npt.NDArray[np.float32]:
        """See `InferenceBackend.infer`."""
        self.heard = outgoing()
        return await super().infer(name, version, pixels, timeout)


@pytest.fixture
def backend() -> Listening:
    fake = Listening()
    fake.serve(an_entry())
    return fake


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """An OTLP collector: its address, and the spans it was sent."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                assert any(each.value.string_value == "vitrine" for each in resource.resource.attributes)
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


async def ask(app: FastAPI, traceparent: str | None = None, content: bytes = GREEN) -> httpx.Response:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.get("/livez")).status_code == 200
        return await client.post("/v1/classify", content=content, headers=headers)


async def test_without_spans_the_callers_trace_is_logged_and_handed_on(
    backend: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(), backend)
    caplog.set_level(logging.INFO, "vitrine.access")
    async with app.router.lifespan_context(app):
        assert (await ask(app, TRACEPARENT)).status_code == 200
    assert dict(backend.heard) == {"traceparent": TRACEPARENT}
    assert json.loads(caplog.messages[-1])["trace_id"] == TRACE


@pytest.mark.parametrize("given", [None, "nonsense", f"00-{'0' * 32}-{PARENT}-01", TRACEPARENT + "\r\nX: y"])
async def test_what_is_no_trace_is_not_handed_on(
    backend: Listening, caplog: pytest.LogCaptureFixture, given: str | None
) -> None:
    app = create_app(Settings(), backend)
    caplog.set_level(logging.INFO, "vitrine.access")
    async with app.router.lifespan_context(app):
        assert (await ask(app, given)).status_code == 200
    assert backend.heard == ()
    assert json.loads(caplog.messages[-1])["trace_id"] is None


async def test_spans_of_a_request_reach_the_collector(backend: Listening, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vitrine.access")
    with collector() as (endpoint, spans):
        app = create_app(Settings(tracing_endpoint=endpoint), backend)
        async with app.router.lifespan_context(app):
            assert (await ask(app, TRACEPARENT)).status_code == 200
    by_name = {span.name: span for span in spans}
    assert set(by_name) == {"POST /v1/classify", "receive", "decode", "resize", "triton"}
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    request = by_name.pop("POST /v1/classify")
    assert request.parent_span_id.hex() == PARENT
    assert {span.parent_span_id for span in by_name.values()} == {request.span_id}
    for span in by_name.values():
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    assert dict(backend.heard) == {"traceparent": f"00-{TRACE}-{by_name['triton'].span_id.hex()}-01"}
    assert json.loads(caplog.messages[-1])["trace_id"] == TRACE


async def test_a_stage_that_fails_is_a_span_that_failed(backend: Listening) -> None:
    with collector() as (endpoint, spans):
        app = create_app(Settings(tracing_endpoint=endpoint), backend)
        async with app.router.lifespan_context(app):
            assert (await ask(app, content=GREEN[:-200])).status_code == 422
    failed = {span.name for span in spans if span.status.code == span.status.STATUS_CODE_ERROR}
    assert failed == {"decode"}


async def test_a_collector_that_is_away_costs_nobody_an_answer(backend: Listening) -> None:
    app = create_app(Settings(tracing_endpoint="http://127.0.0.1:9"), backend)
    async with app.router.lifespan_context(app):
        assert (await ask(app)).status_code == 200


def test_without_the_sdk_the_start_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, backend: Listening) -> None:
    monkeypatch.setattr(tracing, "_missing", ImportError("No module named 'opentelemetry.sdk'"))
    with pytest.raises(SettingsError, match=r"needs the extra .*vitrine\[tracing\].*opentelemetry\.sdk"):
        create_app(Settings(tracing_endpoint="http://127.0.0.1:4318"), backend)
