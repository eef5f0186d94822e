"""Whose request this is among others: W3C Trace Context, and spans by OpenTelemetry where they are asked for.

A caller's `traceparent` is in the log line and goes on to Triton, with or without spans.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context
from opentelemetry.trace import format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.settings import SettingsError

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
except ImportError as error:
    _missing: ImportError | None = error
else:
    _missing = None

_PROPAGATOR = TraceContextTextMapPropagator()


def require_sdk() -> None:
    """Raises:
    SettingsError: OpenTelemetry's SDK is not installed.
    """
    if _missing is not None:
        raise SettingsError(f"VITRINE_TRACING_ENDPOINT needs the extra `vitrine[tracing]`: {_missing}")


def sending_to(endpoint: str, version: str) -> "TracerProvider":
    """What makes spans and sends them to a collector, in batches, from a thread of its own.

    `endpoint` is its OTLP/HTTP address without a path. OpenTelemetry's own variables (`OTEL_TRACES_SAMPLER`,
    `OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_HEADERS`, ...) hold as well.

    Raises:
        SettingsError: OpenTelemetry's SDK is not installed.
    """
    require_sdk()
    named = Resource({"service.name": "vitrine", "service.version": version})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    return provider


@contextmanager
def following(headers: Mapping[str, str]) -> Iterator[None]:
    """What is inside belongs to the caller's trace, unless it has a span of its own already."""
    if "traceparent" not in headers or get_current_span().get_span_context().is_valid:
        yield
        return
    token = context.attach(_PROPAGATOR.extract(headers, context.get_current()))
    try:
        yield
    finally:
        context.detach(token)


def trace_id() -> str | None:
    """The trace that this request belongs to, in hexadecimal."""
    span = get_current_span().get_span_context()
    return format_trace_id(span.trace_id) if span.is_valid else None


def outgoing() -> tuple[tuple[str, str], ...]:
    """The headers that hand the trace on."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())
