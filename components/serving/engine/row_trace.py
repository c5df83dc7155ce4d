"""The spans of one row in the engine: its wait in the queue, its prefill and its decoding, with the longest steps.

A step serves many rows and a span has one parent, so a step is an event in the spans of each row that it served; its
number is the same in all of them. The model thread only notes times; the spans are made where the answer is read.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from components.otel.span import Span
from components.otel.spans import add_span, start_span

Finish = Literal["stop", "length", "cancelled", "failed"]
_STEPS_SHOWN = 16
"""Steps that a span shows, at most: the longest."""


class EngineStep(NamedTuple):
    """One step of the batch."""

    number: int
    began_ns: int
    ended_ns: int
    rows: int
    source_tokens: int
    """Tokens of prompts that it read."""


@dataclass(slots=True)
class RowTrace:
    """When one row came to what; times in nanoseconds since 1970, 0: not yet."""

    parent: Span
    row: int
    """Its number within its request."""
    queued_ns: int = field(default_factory=time.time_ns)
    admitted_ns: int = 0
    first_token_ns: int = 0
    steps: list[EngineStep] = field(default_factory=list)
    """Those of the batch while it was in it."""
    is_recorded: bool = False

    def add_step(self, step: EngineStep, *, has_token: bool) -> None:
        """Note a step; called by the model thread."""
        self.steps.append(step)
        if has_token and not self.first_token_ns:
            self.first_token_ns = step.ended_ns

    def record(self, finish: Finish, problem: BaseException | None = None) -> None:
        """Make the row's spans, once."""
        if self.is_recorded:
            return
        self.is_recorded = True
        now_ns, steps = time.time_ns(), list(self.steps)
        ended_ns = steps[-1].ended_ns if steps and finish in ("stop", "length") else now_ns
        whole = start_span("generate", parent=self.parent, started_ns=self.queued_ns, row=self.row, finish=finish)
        add_span("wait in queue", self.queued_ns, self.admitted_ns or ended_ns, parent=whole)
        first_ns = self.first_token_ns
        if self.admitted_ns:
            read = [step for step in steps if not first_ns or step.ended_ns <= first_ns]
            _add_phase("prefill", whole, self.admitted_ns, first_ns or ended_ns, read)
        if first_ns:
            _add_phase("decode", whole, first_ns, ended_ns, [step for step in steps if step.ended_ns > first_ns])
        if problem is not None:
            whole.fail(problem)
        whole.end(ended_ns)


def begin_row_trace(span: Span, row: int) -> RowTrace | None:
    """Return a trace below the request's span; None if that is not exported."""
    return RowTrace(span, row) if span.is_recording else None


def _add_phase(name: str, parent: Span, began_ns: int, ended_ns: int, steps: Sequence[EngineStep]) -> None:
    span = start_span(name, parent=parent, started_ns=began_ns, steps=len(steps))
    longest = sorted(steps, key=lambda step: step.began_ns - step.ended_ns)[:_STEPS_SHOWN]
    for step in sorted(longest):
        span.add_event(
            "step",
            step.began_ns,
            step=step.number,
            rows=step.rows,
            source_tokens=step.source_tokens,
            ms=(step.ended_ns - step.began_ns) / 1e6,
        )
    span.end(ended_ns)
