"""The model's own thread: lets rows in, steps the batch, tells the answers, and goes on whatever a step raises.

Everything that touches the model happens here. Knows the batch and the queue; does not know HTTP or where artifacts
come from.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from components.errors import PrefixFleetError
from components.serving.engine.answer_stream import AnswerEvent, EngineAnswerStream, deliver_events
from components.serving.engine.batch import StepResult, to_step_error
from components.serving.engine.fair_queue import FairQueue
from components.serving.engine.sampler import SampledToken
from components.serving.engine.sequence import EngineSequence
from components.serving.engine.throughput import Throughput
from components.serving.interface import AnswerPiece


class SequenceBatch(Protocol):
    """Rows on their way together."""

    sequences: list[EngineSequence]

    def activate(self) -> AbstractContextManager[None]:
        """Inside, rows can enter and step; from one thread."""

    def has_capacity_for(self, row: EngineSequence) -> bool:
        """Whether there is a place for it."""

    def add(self, row: EngineSequence) -> None:
        """Let a row in, which `has_capacity_for` says there is a place for."""

    def remove(self, row: EngineSequence, *, wipe: bool = False) -> None:
        """Let a row go; `wipe` where what it left may be no numbers."""

    def step(self) -> list[tuple[EngineSequence, StepResult]]:
        """Let rows read; tells of each that wrote its token, or why it cannot go on."""


class ModelThread:
    """One thread over one batch."""

    def __init__(self, batch: SequenceBatch, eos_id: int, on_removed: Callable[[EngineSequence], None]) -> None:
        """`on_removed` hears, in whatever thread, of each row that is out of the engine; `eos_id` ends a row."""
        self.batch, self._eos_id, self._on_removed = batch, eos_id, on_removed
        self.condition = threading.Condition()
        """Guards what follows."""
        self.queue: FairQueue[EngineSequence] = FairQueue()
        self.pending_submissions = 0
        """Rows that will be pushed when their artifacts are there."""
        self.running = 0
        self.throughput = Throughput(time.monotonic)
        self._stopping = False
        self._events: list[tuple[EngineAnswerStream, AnswerEvent]] = []
        self._thread = threading.Thread(target=self._run, name="prefixfleet-model", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether rows that are pushed will be answered."""
        return self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def shut_down(self) -> None:
        """End when all rows are done, those that are coming too, and wait for it."""
        with self.condition:
            self._stopping = True
            self.condition.notify()
        self._thread.join()

    def push(self, row: EngineSequence) -> None:
        """Queue a row."""
        with self.condition:
            if not self.running and not self.queue:
                self.throughput.restart_clock()
            self.queue.push(row.tenant, row)
            self.condition.notify()

    def cancel(self, row: EngineSequence) -> None:
        """Let a row go at the next step; from any thread."""
        with self.condition:
            waited = self.queue.remove(row.tenant, row)
            self.condition.notify()
        if waited:
            self._on_removed(row)

    @torch.inference_mode()
    def _run(self) -> None:
        with self.batch.activate():
            while self._wait_for_work():
                try:
                    self._admit_waiting()
                    self._remove_cancelled()
                    if self.batch.sequences:
                        self._step()
                except Exception as problem:  # noqa: BLE001 - no row waits for a thread that is gone
                    for row in list(self.batch.sequences):
                        self._fail(row, problem)
                deliver_events(self._events)
                self._events = []

    def _wait_for_work(self) -> bool:
        """Until there is work; False when there will be none."""
        with self.condition:
            while not self.queue and not self.batch.sequences:
                if self._stopping and not self.pending_submissions:
                    return False
                self.condition.wait()
        return True

    def _admit_waiting(self) -> None:
        while True:
            with self.condition:
                row = self.queue.peek()
                if row is None or not self.batch.has_capacity_for(row):
                    return
                self.queue.pop()
                self.queue.charge(row.tenant, row.stream.prompt_tokens)
                self.running += 1
            try:
                self.batch.add(row)
            except Exception as problem:  # noqa: BLE001 - one row's trouble is its own
                self._finish_sequence(row, to_step_error(problem))

    def _remove_cancelled(self) -> None:
        for row in [row for row in self.batch.sequences if row.stream.cancelled]:
            self.batch.remove(row, wipe=True)  # nobody has looked at what it has read since its last token
            self._finish_sequence(row)

    def _step(self) -> None:
        try:
            outcomes = self.batch.step()
        except Exception as problem:  # noqa: BLE001 - the rows hear of it, and the engine lives on
            outcomes = [(row, to_step_error(problem)) for row in self.batch.sequences]
        for row, outcome in outcomes:
            try:
                pieces = self._to_pieces(row, outcome)
            except Exception as problem:  # noqa: BLE001 - one row's trouble is its own
                self._fail(row, problem)
                continue
            self._events += [(row.stream, piece) for piece in pieces]
            if pieces and pieces[-1].finish:
                self.batch.remove(row)
                self._finish_sequence(row)
        with self.condition:
            for row, _ in outcomes:
                self.queue.charge(row.tenant, 1)

    def _to_pieces(self, row: EngineSequence, outcome: StepResult) -> list[AnswerPiece]:
        """What a row's new token makes certain. Raises what the row ended with."""
        if not isinstance(outcome, SampledToken):
            raise outcome
        last = row.is_last_token
        if outcome.token_id == self._eos_id:
            return [row.detokenizer.finish("stop")]
        piece = row.detokenizer.add_token(outcome.token_id, outcome.logprob, outcome.alternatives)
        if last and not (piece is not None and piece.finish):
            return [*([piece] if piece is not None else []), row.detokenizer.finish("length")]
        return [piece] if piece is not None else []

    def _fail(self, row: EngineSequence, problem: Exception) -> None:
        self.batch.remove(row, wipe=True)
        self._finish_sequence(row, to_step_error(problem))

    def _finish_sequence(self, row: EngineSequence, trouble: PrefixFleetError | None = None) -> None:
        with self.condition:
            self.running -= 1
            self.queue.mark_done(row.tenant)
            self.throughput.record_completion()
        if trouble is not None:
            self._events.append((row.stream, trouble))
        self._on_removed(row)
