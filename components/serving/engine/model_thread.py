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
from components.serving.engine.answer_stream import LiveAnswer, News, deliver
from components.serving.engine.batch import Outcome, failed
from components.serving.engine.fair_queue import FairQueue
from components.serving.engine.sampler import Chosen
from components.serving.engine.sequence import Row
from components.serving.engine.throughput import Rate
from components.serving.interface import Piece


class Steps(Protocol):
    """Rows on their way together."""

    rows: list[Row]

    def open(self) -> AbstractContextManager[None]:
        """Inside, rows can enter and step; from one thread."""

    def takes(self, row: Row) -> bool:
        """Whether there is a place for it."""

    def enter(self, row: Row) -> None:
        """Let a row in, which `takes` says there is a place for."""

    def leave(self, row: Row, *, wipe: bool = False) -> None:
        """Let a row go; `wipe` where what it left may be no numbers."""

    def step(self) -> list[tuple[Row, Outcome]]:
        """Let rows read; tells of each that wrote its token, or why it cannot go on."""


class Worker:
    """One thread over one batch."""

    def __init__(self, batch: Steps, eos: int, on_gone: Callable[[Row], None]) -> None:
        """`on_gone` hears, in whatever thread, of each row that is out of the engine; `eos` ends a row."""
        self.batch, self._eos, self._on_gone = batch, eos, on_gone
        self.wake = threading.Condition()
        """Guards what follows."""
        self.queue: FairQueue[Row] = FairQueue()
        self.coming = 0
        """Rows that will be pushed when their artifacts are there."""
        self.running = 0
        self.rate = Rate(time.monotonic)
        self._stopping = False
        self._news: list[tuple[LiveAnswer, News]] = []
        self._thread = threading.Thread(target=self._run, name="prefixfleet-model", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether rows that are pushed will be answered."""
        return self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """End when all rows are done, those that are coming too, and wait for it."""
        with self.wake:
            self._stopping = True
            self.wake.notify()
        self._thread.join()

    def push(self, row: Row) -> None:
        """Queue a row."""
        with self.wake:
            if not self.running and not self.queue:
                self.rate.start()
            self.queue.push(row.tenant, row)
            self.wake.notify()

    def cancel(self, row: Row) -> None:
        """Let a row go at the next step; from any thread."""
        with self.wake:
            waited = self.queue.drop(row.tenant, row)
            self.wake.notify()
        if waited:
            self._on_gone(row)

    @torch.inference_mode()
    def _run(self) -> None:
        with self.batch.open():
            while self._wait():
                try:
                    self._let_in()
                    self._let_go()
                    if self.batch.rows:
                        self._step()
                except Exception as problem:  # noqa: BLE001 - no row waits for a thread that is gone
                    for row in list(self.batch.rows):
                        self._fail(row, problem)
                deliver(self._news)
                self._news = []

    def _wait(self) -> bool:
        """Until there is work; False when there will be none."""
        with self.wake:
            while not self.queue and not self.batch.rows:
                if self._stopping and not self.coming:
                    return False
                self.wake.wait()
        return True

    def _let_in(self) -> None:
        while True:
            with self.wake:
                row = self.queue.peek()
                if row is None or not self.batch.takes(row):
                    return
                self.queue.pop()
                self.queue.charge(row.tenant, row.answer.prompt_tokens)
                self.running += 1
            try:
                self.batch.enter(row)
            except Exception as problem:  # noqa: BLE001 - one row's trouble is its own
                self._end(row, failed(problem))

    def _let_go(self) -> None:
        for row in [row for row in self.batch.rows if row.answer.cancelled]:
            self.batch.leave(row, wipe=True)  # nobody has looked at what it has read since its last token
            self._end(row)

    def _step(self) -> None:
        try:
            outcomes = self.batch.step()
        except Exception as problem:  # noqa: BLE001 - the rows hear of it, and the engine lives on
            outcomes = [(row, failed(problem)) for row in self.batch.rows]
        for row, outcome in outcomes:
            try:
                pieces = self._pieces(row, outcome)
            except Exception as problem:  # noqa: BLE001 - one row's trouble is its own
                self._fail(row, problem)
                continue
            self._news += [(row.answer, piece) for piece in pieces]
            if pieces and pieces[-1].finish:
                self.batch.leave(row)
                self._end(row)
        with self.wake:
            for row, _ in outcomes:
                self.queue.charge(row.tenant, 1)

    def _pieces(self, row: Row, outcome: Outcome) -> list[Piece]:
        """What a row's new token makes certain. Raises what the row ended with."""
        if not isinstance(outcome, Chosen):
            raise outcome
        last = row.last
        if outcome.token == self._eos:
            return [row.writing.end("stop")]
        piece = row.writing.add(outcome.token, outcome.logprob, outcome.others)
        if last and not (piece is not None and piece.finish):
            return [*([piece] if piece is not None else []), row.writing.end("length")]
        return [piece] if piece is not None else []

    def _fail(self, row: Row, problem: Exception) -> None:
        self.batch.leave(row, wipe=True)
        self._end(row, failed(problem))

    def _end(self, row: Row, trouble: PrefixFleetError | None = None) -> None:
        with self.wake:
            self.running -= 1
            self.queue.leave(row.tenant)
            self.rate.done()
        if trouble is not None:
            self._news.append((row.answer, trouble))
        self._on_gone(row)
