"""The model thread: add queued rows to the batch, run its steps, deliver the results, and survive any error of a step.

Everything that uses the model runs in this thread. Knows the batch and the queue; does not know HTTP or where artifacts
come from.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from components.errors import PrefixFleetError
from components.serving.device_time import DeviceTime
from components.serving.engine.answer_stream import AnswerEvent, EngineAnswerStream, deliver_events
from components.serving.engine.batch import StepResult
from components.serving.engine.beams import BeamStep
from components.serving.engine.fair_queue import FairQueue
from components.serving.engine.row_trace import EngineStep
from components.serving.engine.sampler import SampledToken
from components.serving.engine.sequence import EngineSequence
from components.serving.engine.step_errors import to_step_error
from components.serving.engine.throughput import Throughput
from components.serving.interface import AnswerPiece, FinishReason


class SequenceBatch(Protocol):
    """Sequences that are computed together."""

    sequences: list[EngineSequence]
    source_tokens: int
    """Tokens of prompts that the last step read."""

    def activate(self) -> AbstractContextManager[None]:
        """Prepare the model inside the block; call `add` and `step` inside, from one thread."""

    def has_capacity_for(self, sequence: EngineSequence) -> bool:
        """Return whether the sequence can be added now."""

    def add(self, sequence: EngineSequence) -> None:
        """Add a sequence; call `has_capacity_for` first."""

    def remove(self, sequence: EngineSequence, *, wipe: bool = False) -> None:
        """Remove a sequence; `wipe`: its cached values may be NaN."""

    def step(self) -> list[tuple[EngineSequence, StepResult]]:
        """Run one step; returns (sequence, its new token or its error) for the sequences that have one."""


_ADDING_SHARE = 0.5
"""While other tenants' rows are computed, adding a tenant's rows before a step takes at most this share of a step's
time, but for the last row: many short rows that end together would else be replaced in one long pause."""
_DELIVERY_SECONDS = 0.01
"""Pieces of steps that are shorter are delivered together: each delivery takes time from the model. Not the first piece
of an answer, its end, and what comes before a step that reads new sources, which may be long."""


class ModelThread:
    """One thread that runs one batch."""

    def __init__(
        self,
        batch: SequenceBatch,
        on_removed: Callable[[EngineSequence], None],
        max_tenant_places: int | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_removed` is called, from any thread, for each sequence that leaves.

        One tenant may use `max_tenant_places` places of the batch; None: all. `timer` gives monotonic seconds.
        """
        self.batch, self._on_removed = batch, on_removed
        self.condition = threading.Condition()
        """Guards `queue`, `pending_submissions`, `running`, `throughput`, `_stopping`."""
        self.queue: FairQueue[EngineSequence] = FairQueue(max_tenant_places)
        self.pending_submissions = 0
        """Rows that will be pushed once their artifacts are loaded."""
        self.running = 0
        """Rows in the batch."""
        self.throughput = Throughput(timer)
        self.device_time = DeviceTime(timer)
        """Of the rows, from their addition to the batch to their end."""
        self._marks: dict[int, float] = {}
        """By the id of a sequence in the batch."""
        self._timer, self._step_s = timer, math.inf
        self._step_number = self._traced = 0
        """The steps so far; the traced rows in the batch."""
        self._stopping = False
        self._events: list[tuple[EngineAnswerStream, AnswerEvent]] = []
        """Not delivered yet."""
        self._has_urgent_event = False
        self._delivered_s = -math.inf
        self._thread = threading.Thread(target=self._run, name="prefixfleet-model", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether pushed sequences are answered."""
        return self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def shut_down(self) -> None:
        """Finish all sequences, including those about to be pushed, and wait for the end of the thread."""
        with self.condition:
            self._stopping = True
            self.condition.notify()
        self._thread.join()

    def push(self, sequences: Sequence[EngineSequence]) -> None:
        """Queue the sequences of a request."""
        with self.condition:
            if not self.running and not self.queue:
                self.throughput.restart_clock()
            for sequence in sequences:
                self.queue.push(sequence.tenant, sequence)
            self.condition.notify()

    def cancel(self, sequence: EngineSequence) -> None:
        """Remove a sequence from the queue now, or from the batch before the next step; call it from any thread."""
        with self.condition:
            was_queued = self.queue.remove(sequence.tenant, sequence)
            self.condition.notify()
        if was_queued:
            self._on_removed(sequence)

    @torch.inference_mode()
    def _run(self) -> None:
        with self.batch.activate():
            while self._wait_for_work():
                try:
                    if self._admit_waiting():
                        self._deliver()
                    self._remove_cancelled()
                    if self.batch.sequences:
                        self._step()
                except Exception as problem:  # noqa: BLE001 - the thread must not end while sequences wait for it
                    for sequence in list(self.batch.sequences):
                        self._fail(sequence, problem)
                is_due = self._timer() >= self._delivered_s + _DELIVERY_SECONDS
                if is_due or self._has_urgent_event or not self.batch.sequences:
                    self._deliver()

    def _deliver(self) -> None:
        deliver_events(self._events)
        self._events, self._has_urgent_event, self._delivered_s = [], False, self._timer()

    def _wait_for_work(self) -> bool:
        """Wait for a sequence; returns False if there will be none any more."""
        with self.condition:
            while not self.queue and not self.batch.sequences:
                if self._stopping and not self.pending_submissions:
                    return False
                self.condition.wait()
        return True

    def _admit_waiting(self) -> bool:
        """Add waiting sequences to the batch; returns whether there were any."""
        until_s, has_added = self._timer() + _ADDING_SHARE * self._step_s, False
        while True:
            with self.condition:
                sequence = self.queue.peek()
                if sequence is None or not self.batch.has_capacity_for(sequence):
                    return has_added
                self.queue.pop(sequence.branch_count)
                self.queue.charge(sequence.tenant, sequence.stream.prompt_tokens)
                self.running += 1
            self._marks[id(sequence)] = self.device_time.begin(sequence.branch_count)
            if sequence.trace is not None:
                self._traced += 1
                sequence.trace.admitted_ns = time.time_ns()
            try:
                self.batch.add(sequence)
            except Exception as problem:  # noqa: BLE001 - an error of one sequence ends only that one
                self._finish_sequence(sequence, to_step_error(problem))
            has_added = True
            if self._timer() > until_s and any(one.tenant != sequence.tenant for one in self.batch.sequences):
                return has_added

    def _remove_cancelled(self) -> None:
        for sequence in [sequence for sequence in self.batch.sequences if sequence.stream.cancelled]:
            self.batch.remove(sequence, wipe=True)  # what it read since its last token may be NaN, unchecked
            self._finish_sequence(sequence)

    def _step(self) -> None:
        started_s = self._timer()
        self._step_number += 1
        began_ns = time.time_ns() if self._traced else 0
        try:
            results = self.batch.step()
        except Exception as problem:  # noqa: BLE001 - every sequence gets the error, and the thread goes on
            results = [(sequence, to_step_error(problem)) for sequence in self.batch.sequences]
        if began_ns:
            self._trace_step(began_ns, results)
        for sequence, result in results:
            try:
                pieces = self._to_pieces(sequence, result)
                sequence.stream.completion_tokens = sequence.detokenizer.answer_tokens
            except Exception as problem:  # noqa: BLE001 - an error of one sequence ends only that one
                self._fail(sequence, problem)
                continue
            self._events += [(sequence.stream, piece) for piece in pieces]
            self._has_urgent_event |= bool(pieces) and not sequence.stream.was_delivered
            if pieces and pieces[-1].finish:
                self.batch.remove(sequence)
                self._finish_sequence(sequence)
        with self.condition:
            for sequence, _ in results:
                self.queue.charge(sequence.tenant, sequence.branch_count)
        self._step_s = self._timer() - started_s

    def _trace_step(self, began_ns: int, results: Sequence[tuple[EngineSequence, StepResult]]) -> None:
        sequences, ended_ns = self.batch.sequences, time.time_ns()
        step = EngineStep(self._step_number, began_ns, ended_ns, len(sequences), self.batch.source_tokens)
        with_token = {id(sequence) for sequence, result in results if not isinstance(result, PrefixFleetError)}
        for sequence in sequences:
            if sequence.trace is not None:
                sequence.trace.add_step(step, has_token=id(sequence) in with_token)

    def _to_pieces(self, sequence: EngineSequence, result: StepResult) -> list[AnswerPiece]:
        """Return the text that is final after a step. Raises the sequence's error."""
        if isinstance(result, BeamStep):
            return [] if result.answer is None else _write_answer(sequence, result.answer)
        if not isinstance(result, SampledToken):
            raise result
        is_last = sequence.is_last_token
        if result.token_id in sequence.stop_ids:
            return [sequence.detokenizer.finish("stop" if _is_whole(sequence) else "length")]
        piece = sequence.detokenizer.add_token(result.token_id, result.logprob, result.alternatives)
        if is_last and not (piece is not None and piece.finish):
            finish: FinishReason = "stop" if sequence.grammar is not None and _is_whole(sequence) else "length"
            return [*([piece] if piece is not None else []), sequence.detokenizer.finish(finish)]
        return [piece] if piece is not None else []

    def _fail(self, sequence: EngineSequence, problem: Exception) -> None:
        self.batch.remove(sequence, wipe=True)
        self._finish_sequence(sequence, to_step_error(problem))

    def _finish_sequence(self, sequence: EngineSequence, error: PrefixFleetError | None = None) -> None:
        self.device_time.end(sequence.tenant, self._marks.pop(id(sequence)), sequence.branch_count)
        self._traced -= sequence.trace is not None
        with self.condition:
            self.running -= 1
            self.queue.mark_done(sequence.tenant, sequence.branch_count)
            self.throughput.record_completion()
        if error is not None:
            self._events.append((sequence.stream, error))
        self._has_urgent_event = True
        self._on_removed(sequence)


def _is_whole(sequence: EngineSequence) -> bool:
    """Return whether a row that ends now is complete: a base may force the end at a row's limit."""
    return sequence.grammar is None or sequence.grammar.is_complete(sequence.detokenizer.token_ids)


def _write_answer(sequence: EngineSequence, token_ids: Sequence[int]) -> list[AnswerPiece]:
    """Return the whole text of a beam search at its end."""
    pieces: list[AnswerPiece] = []
    for token_id in token_ids:
        if token_id in sequence.stop_ids:
            return [*pieces, sequence.detokenizer.finish("stop")]
        piece = sequence.detokenizer.add_token(token_id)
        if piece is not None:
            pieces.append(piece)
            if piece.finish:
                return pieces
    is_whole = len(token_ids) < sequence.decode_request.limit
    return [*pieces, sequence.detokenizer.finish("stop" if is_whole else "length")]
