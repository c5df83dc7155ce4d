"""Spans: start them, end them, and pass them on to other threads, processes and machines.

Without PREFIXFLEET_OTEL nothing is started and OpenTelemetry is not imported. The present span is kept here, not in
OpenTelemetry's own context, which other libraries change. Does not know where spans go.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from components.logs import log_context
from components.otel.attributes import Value, to_names
from components.otel.span import NO_SPAN, Span, SpanKind
from components.otel.switch import is_on, wants_spans

PARENT_VARIABLE = "TRACEPARENT"
"""A process in whose environment this is continues that trace."""
_SHORT_NS = 1_000_000
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


_current: ContextVar[Span] = ContextVar("span", default=NO_SPAN)


def begin_telemetry(service: str) -> None:
    """Name this process for its spans and metrics, before the first one; OTEL_SERVICE_NAME wins."""
    if is_on():
        from components.otel.exporting import name_service

        name_service(service)


def current_span() -> Span:
    """Return the span of the innermost block."""
    return _current.get()


def read_parent(headers: Mapping[str, str]) -> Span:
    """Return the span that W3C's headers name, to be a parent here; NO_SPAN, below which a trace begins, if none."""
    if not wants_spans():
        return NO_SPAN
    from components.otel.exporting import read_headers

    found = read_headers(headers)
    return NO_SPAN if found is None else Span(found)


def start_span(
    name: str,
    *,
    parent: Span | None = None,
    kind: SpanKind = "internal",
    started_ns: int | None = None,
    **attributes: Value,
) -> Span:
    """Start a span, which the caller ends; it does not become the present one.

    `parent` None: the present span. Below NO_SPAN it begins a trace.
    """
    return _start(name, parent, kind, started_ns, attributes)


def start_child(name: str, *, kind: SpanKind = "internal", **attributes: Value) -> Span:
    """As `start_span` below the present span; begins no trace."""
    return NO_SPAN if _current.get() is NO_SPAN else _start(name, None, kind, None, attributes)


def add_span(
    name: str, started_ns: int, ended_ns: int | None = None, *, parent: Span | None = None, **attributes: Value
) -> Span:
    """Record a span that is over; `ended_ns` is now by default."""
    span = _start(name, parent, "internal", started_ns, attributes)
    span.end(ended_ns)
    return span


def add_wait(name: str, began_ns: int) -> None:
    """Record a wait that ends now, if it took more than a millisecond, in the present span if that is exported."""
    if _current.get().is_recording and time.time_ns() - began_ns > _SHORT_NS:
        add_span(name, began_ns)


def open_span(
    name: str, *, parent: Span | None = None, kind: SpanKind = "internal", **attributes: Value
) -> AbstractContextManager[Span]:
    """Let a span be the present one during a block, also for the lines of the log; an exception marks it as failed.

    `parent`: as of `start_span`.
    """
    return _open(name, parent, kind, attributes)


def open_root(name: str, **attributes: Value) -> AbstractContextManager[Span]:
    """As `open_span`; if no span is present, it goes on with the trace that TRACEPARENT in the environment names."""
    return _open(name, _find_root_parent(), "internal", attributes)


def start_root(name: str) -> Span:
    """As `open_root`, for a span that the caller ends; it does not become the present one."""
    return _start(name, _find_root_parent(), "internal", None, {})


def _find_root_parent() -> Span | None:
    if _current.get() is not NO_SPAN:
        return None
    return read_parent({"traceparent": os.environ.get(PARENT_VARIABLE, "")})


@contextmanager
def _open(name: str, parent: Span | None, kind: SpanKind, attributes: Mapping[str, Value]) -> Iterator[Span]:
    if not wants_spans():
        yield NO_SPAN
        return
    span = _start(name, parent, kind, None, attributes)
    token = _current.set(span)
    try:
        with log_context(**span.log_fields):
            yield span
    except BaseException as problem:
        span.fail(problem)
        raise
    finally:
        _current.reset(token)
        span.end()


def _start(
    name: str, parent: Span | None, kind: SpanKind, started_ns: int | None, attributes: Mapping[str, Value]
) -> Span:
    if not wants_spans():
        return NO_SPAN
    from components.otel.exporting import start_otel_span

    above = _current.get() if parent is None else parent
    return Span(start_otel_span(name, above.otel_span, kind, started_ns, to_names(attributes)))


def traced(name: str) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Decorate a function: each call has a span."""

    def decorate(work: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        @wraps(work)
        def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            with open_span(name):
                return work(*args, **kwargs)

        return call

    return decorate
