"""One span, as the code that is traced sees it. Does not know its parent, nor where it goes."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from components.otel.attributes import Value, to_names

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan

SpanKind = Literal["internal", "server", "client", "producer", "consumer"]


class Span:
    """One span; without the switch, or if it is not sampled, its methods do nothing."""

    __slots__ = ("_is_ended", "otel_span")

    def __init__(self, span: "OtelSpan | None" = None) -> None:
        """None: there is no trace."""
        self.otel_span = span
        self._is_ended = span is None or not span.is_recording()

    @property
    def is_recording(self) -> bool:
        """Whether it is exported at its end."""
        return not self._is_ended

    @property
    def headers(self) -> dict[str, str]:
        """W3C's headers `traceparent` and `tracestate`, for whoever goes on with its trace; empty: there is none."""
        if self.otel_span is None:
            return {}
        from components.otel.exporting import write_headers

        return write_headers(self.otel_span)

    @property
    def log_fields(self) -> dict[str, object]:
        """`trace_id` and `span_id`; empty: there is no trace."""
        if self.otel_span is None:
            return {}
        own = self.otel_span.get_span_context()
        return {"trace_id": f"{own.trace_id:032x}", "span_id": f"{own.span_id:016x}"}

    def set(self, **attributes: Value) -> None:
        """Set attributes; their names are those of `ATTRIBUTES`."""
        if self.otel_span is not None and not self._is_ended:
            self.otel_span.set_attributes(to_names(attributes))

    def rename(self, name: str) -> None:
        """Replace its name."""
        if self.otel_span is not None and not self._is_ended:
            self.otel_span.update_name(name)

    def add_event(self, name: str, at_ns: int | None = None, **attributes: Value) -> None:
        """Add a moment, by default now."""
        if self.otel_span is not None and not self._is_ended:
            self.otel_span.add_event(name, to_names(attributes), at_ns)

    def fail(self, problem: BaseException | None = None) -> None:
        """Mark it as failed, with the class of the error; never with its message, which may quote a text."""
        if self.otel_span is None or self._is_ended:
            return
        from components.otel.exporting import FAILED

        self.otel_span.set_status(FAILED)
        if problem is not None:
            self.set(error=type(problem).__qualname__)

    def count_failed(self, failed: Collection[str]) -> None:
        """Note how many tenants failed; if any, mark it as failed."""
        self.set(failed=len(failed))
        if failed:
            self.fail()

    def end(self, at_ns: int | None = None) -> None:
        """End it, by default now; repeated calls do nothing."""
        if self.otel_span is not None and not self._is_ended:
            self._is_ended = True
            self.otel_span.end(at_ns)


NO_SPAN = Span()
