"""Where spans go: an OTLP collector over HTTP, by OpenTelemetry's SDK. Imported at the first span.

The provider is no global one: to a global provider, other libraries (Prefect, FastAPI) write spans of their own, with
messages and addresses that may quote a caller's text. A thread of the SDK sends; what it cannot send in time is
dropped. Knows the SDK; does not know what is traced.
"""

import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from components.otel.attributes import Value
from components.otel.collector import get_collector

FAILED = Status(StatusCode.ERROR)
_NAME = "prefixfleet"
_propagator = TraceContextTextMapPropagator()
_service: list[str] = []


def name_service(name: str) -> None:
    """Set what this process is called, before its first span; OTEL_SERVICE_NAME wins."""
    _service[:] = [name]


@lru_cache(1)
def make_resource() -> Resource:
    """Return what names this process in all that it sends."""
    known = Resource.create()
    own = {"service.version": version("prefixfleet"), "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        own["service.name"] = _service[0] if _service else _NAME
    return known.merge(Resource(own))


@lru_cache(1)
def get_tracer() -> Tracer:
    """Return this process's tracer."""
    provider = TracerProvider(resource=make_resource(), shutdown_on_exit=False)
    collector = get_collector()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=collector.open_session())))
    collector.send_at_end(provider.shutdown)
    return provider.get_tracer(_NAME)


def start_otel_span(
    name: str, parent: Span | None, kind: str, started_ns: int | None, attributes: Mapping[str, Value]
) -> Span:
    """Start a span below `parent`; None: it begins a trace."""
    context = Context() if parent is None else set_span_in_context(parent, Context())
    return get_tracer().start_span(name, context, SpanKind[kind.upper()], attributes, start_time=started_ns)


def read_headers(headers: Mapping[str, str]) -> Span | None:
    """Return the span that W3C's headers `traceparent` and `tracestate` name; None: they name none."""
    span = get_current_span(_propagator.extract(headers, Context()))
    return span if span.get_span_context().is_valid else None


def write_headers(span: Span) -> dict[str, str]:
    """Return W3C's headers that name a span."""
    headers: dict[str, str] = {}
    _propagator.inject(headers, set_span_in_context(span, Context()))
    return headers
