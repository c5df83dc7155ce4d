"""The first process's side of training by several: it divides the rows of a step and adds up what comes back.

It alone has the tenants, their optimizers and their files. Does not know how a helper computes.
"""

import logging
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import patch_environment

from components.config import BaseConfig, EngineConfig
from components.errors import ConfigError, TrainingError
from components.model.base.load import Base
from components.model.base.out_of_memory import out_of_memory
from components.training.distributed.passes import Peers, local_passes
from components.training.distributed.worker import (
    READY,
    Answer,
    Place,
    Trouble,
    Work,
    joined,
    serve,
    share_values,
    sum_gradients,
)
from components.training.objective import Deltas, Row, Sums

_PATIENCE_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Helper:
    place: Place
    process: BaseProcess
    pipe: "connection.Connection[Any, Any]"

    def send(self, what: Any) -> None:
        try:
            self.pipe.send(what)
        except OSError:
            raise self.lost() from None

    def receive(self) -> Any:
        """Its next word. Raises TrainingError where it has ended instead."""
        try:
            word = self.pipe.recv()
        except (EOFError, OSError):
            raise self.lost() from None
        if isinstance(word, Trouble):
            _log.error("process %d of training:\n%s", self.place.rank, word.told)
            raise self.lost(word.told.strip().splitlines()[-1])
        return word

    def lost(self, why: str = "") -> TrainingError:
        self.process.join(_PATIENCE_S)
        rank, count, device = self.place.rank, self.place.count, self.place.device
        got = f"process {rank} on {device} ended: {why or f'exit code {self.process.exitcode}'}"
        fix = "run again: training goes on where it was saved; engine.processes: 1 needs no other process"
        return TrainingError(f"{count} processes in training (engine.processes)", got, fix)


class Several(Peers):
    """Helpers beside the first process."""

    def __init__(self, helpers: Sequence[_Helper]) -> None:
        """All of them joined."""
        self.helpers = helpers
        self.count = 1 + len(helpers)

    def passes(self, deltas: Deltas, rows: Sequence[Row], tokens: int, *, train: bool, checkpointing: bool) -> Sums:
        """See `Peers.passes`; rows under weights of their own are computed here alone."""
        if deltas.own_weights:
            return local_passes(deltas, rows, tokens, train=train)
        mine, *others = dealt(rows, self.count)
        outlines = [
            None if prefix is None else {name: one.shape for name, one in prefix.tensors.items()}
            for prefix in deltas.prefixes
        ]
        for helper, theirs in zip(self.helpers, others, strict=True):
            helper.send(Work(outlines, theirs, tokens, train, checkpointing))
        for helper in self.helpers:
            helper.receive()
        with self._exchange():
            share_values(deltas)
        problem: RuntimeError | MemoryError | None = None
        sums = Sums.of_nothing(deltas.tenants, deltas.base.device)
        try:
            sums = local_passes(deltas, mine, tokens, train=train)
        except (RuntimeError, MemoryError) as found:
            if not out_of_memory(found):
                raise
            problem = found
        answers: list[Answer] = [helper.receive() for helper in self.helpers]
        if problem is None and any(answer.out_of_memory for answer in answers):
            problem = torch.OutOfMemoryError("out of memory in a helper process")
        for helper in self.helpers:
            helper.send(train and problem is None)
        if problem is not None:
            raise problem
        if train:
            with self._exchange():
                sum_gradients(deltas)
        for answer in answers:
            sums += Sums(torch.tensor(answer.nats_U).to(sums.nats_U), torch.tensor(answer.count_U).to(sums.count_U))
        return sums

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """A process that ends while tensors are under way is named."""
        try:
            yield
        except RuntimeError as problem:
            for helper in self.helpers:
                if helper.process.exitcode is not None or helper.pipe.poll(_PATIENCE_S):
                    helper.receive()
            raise TrainingError(
                "tensors exchanged between processes", str(problem).splitlines()[0], "run again, it resumes"
            ) from problem


@contextmanager
def started(base: Base, config: BaseConfig, engine: EngineConfig) -> Iterator[Several]:
    """Inside, the helpers of `engine.processes` wait for work; see `peers_for`."""
    count, cpu = engine.processes, base.device.type == "cpu"
    if not cpu and count > torch.cuda.device_count():
        got = f"engine.processes: {count} for {torch.cuda.device_count()} of them"
        raise ConfigError("a GPU for every process of training", got, "set engine.processes lower")
    if torch.distributed.is_initialized():
        fix = "train in a process of its own, or set engine.processes: 1"
        raise TrainingError("one training by several processes in a process", "another one under way", fix)
    # The first process may have measured which dtype is the fastest; the others take its answer.
    config = config.model_copy(update={"dtype": str(base.model.dtype).removeprefix("torch.")})
    before = torch.get_num_threads()
    threads = max(1, before // count) if cpu else before
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        own = Place(0, count, str(base.device), threads, str(Path(folder) / "meeting"))
        helpers: list[_Helper] = []
        stack.callback(_end, helpers)
        for rank in range(1, count):
            place = replace(own, rank=rank, device="cpu" if cpu else f"{base.device.type}:{rank}")
            helpers.append(_begin(place, config, engine))
        for helper in helpers:
            helper.receive()
        for helper in helpers:
            helper.send(READY)
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)
        stack.enter_context(joined(own))
        _log.info("training by %d processes, %d threads each", count, threads)
        yield Several(helpers)


def dealt(rows: Sequence[Row], count: int) -> list[list[Row]]:
    """The rows in `count` parts of about as many tokens; the first part has rows wherever there are any."""
    parts: list[list[Row]] = [[] for _ in range(count)]
    tokens = [0] * count
    for row in sorted(rows, key=lambda row: -row.pair.length):
        least = tokens.index(min(tokens))
        parts[least].append(row)
        tokens[least] += row.pair.length
    return parts


def _begin(place: Place, config: BaseConfig, engine: EngineConfig) -> _Helper:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(place, config, engine, theirs), daemon=True)
    # A process inherits what is blocked: a Ctrl-C reaches this one alone, however early it comes.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with patch_environment(omp_num_threads=place.threads):
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return _Helper(place, process, ours)


def _end(helpers: Sequence[_Helper]) -> None:
    for helper in helpers:
        helper.pipe.close()
        helper.process.terminate()
    for helper in helpers:
        helper.process.join()
