"""A collector: a real HTTP server that takes spans and metrics over OTLP, and keeps them."""

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from waiting import wait_until

KINDS = ("", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as the collector got it."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    """"": it began its trace."""
    kind: str
    is_failed: bool
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    """Name and attributes of each."""


class OtlpReceiver:
    """What has come so far."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.metrics: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
        """Name and attributes -> the last value; of a histogram its count, sum, bounds and counts."""
        self.kinds: dict[str, str] = {}
        """Name of a metric -> sum, gauge or histogram."""
        self.bodies: list[bytes] = []
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.url = ""

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a process sends here, every tenth of a second."""
        return {
            "PREFIXFLEET_OTEL": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }

    def find(self, name: str, **attributes: Any) -> list[ReceivedSpan]:
        """The spans with this name and these attributes, without `prefixfleet.`, in order of their beginnings."""
        wanted = {f"prefixfleet.{key}": value for key, value in attributes.items()}
        found = [one for one in self.spans if one.name == name and wanted.items() <= one.attributes.items()]
        return sorted(found, key=lambda one: one.began_ns)

    def wait_for(self, name: str, **attributes: Any) -> ReceivedSpan:
        """The only span with this name and these attributes, once it has come."""
        (found,) = wait_until(lambda: self.find(name, **attributes), f"a span {name}")
        return found

    def list_children(self, parent: ReceivedSpan) -> list[str]:
        """The names of the spans directly below a span, in order of their beginnings."""
        below = [one for one in self.spans if (one.trace_id, one.parent_id) == (parent.trace_id, parent.span_id)]
        return [one.name for one in sorted(below, key=lambda one: one.began_ns)]

    def take(self, path: str, body: bytes) -> None:
        """Take one request."""
        self.bodies.append(body)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = _to_dict(resource.resource.attributes)["service.name"]
                self.spans += [_read_span(one, service) for scope in resource.scope_spans for one in scope.spans]
        else:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                    self._take_metric(metric)

    def _take_metric(self, metric: Any) -> None:
        kind = metric.WhichOneof("data")
        self.kinds[metric.name] = kind
        for point in getattr(metric, kind).data_points:
            key = metric.name, tuple(sorted(_to_dict(point.attributes).items()))
            self.metrics[key] = (
                (point.count, point.sum, [*point.explicit_bounds], [*point.bucket_counts])
                if kind == "histogram"
                else point.as_double
            )


@contextmanager
def run_otlp_receiver() -> Iterator[OtlpReceiver]:
    """Run a collector until the end of the block."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.may_answer.wait(60)
            if receiver.status == 200:
                receiver.take(self.path, gzip.decompress(body) if self.headers["content-encoding"] else body)
            self.send_response(receiver.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield receiver
        finally:
            receiver.may_answer.set()
            server.shutdown()


@contextmanager
def export_here(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> Iterator[None]:
    """Let this process export with these variables during the block; what is left is sent at its end."""
    from components.otel import collector, exporting, metrics

    caches = exporting.get_tracer, exporting.make_resource, metrics._get_exporter, collector.get_collector
    for name, value in environment.items():
        patch.setenv(name, value)
    for cache in caches:
        cache.cache_clear()
    try:
        yield
    finally:
        collector.get_collector().finish()
        for name in environment:
            patch.delenv(name)
        for cache in caches:
            cache.cache_clear()


def _read_span(span: Any, service: str) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=KINDS[span.kind],
        is_failed=span.status.code == 2,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_to_dict(span.attributes),
        events=tuple((one.name, _to_dict(one.attributes)) for one in span.events),
    )


def _to_dict(pairs: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in pairs}
