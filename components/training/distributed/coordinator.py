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
from components.model.base.out_of_memory import is_out_of_memory
from components.training.distributed.passes import PassRunner, run_local_passes
from components.training.distributed.worker import (
    READY,
    ProcessSpec,
    StepRequest,
    StepResult,
    WorkerFailure,
    broadcast_values,
    join_group,
    run_worker,
    sum_gradients,
)
from components.training.objective import LossSums, StepDeltas, TrainingExample

_EXIT_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _WorkerProcess:
    spec: ProcessSpec
    process: BaseProcess
    pipe: "connection.Connection[Any, Any]"

    def send(self, what: Any) -> None:
        try:
            self.pipe.send(what)
        except OSError:
            raise self.make_lost_error() from None

    def receive(self) -> Any:
        """Its next word. Raises TrainingError where it has ended instead."""
        try:
            word = self.pipe.recv()
        except (EOFError, OSError):
            raise self.make_lost_error() from None
        if isinstance(word, WorkerFailure):
            _log.error("process %d of training:\n%s", self.spec.rank, word.traceback_text)
            raise self.make_lost_error(word.traceback_text.strip().splitlines()[-1])
        return word

    def make_lost_error(self, why: str = "") -> TrainingError:
        self.process.join(_EXIT_TIMEOUT_S)
        rank, count, device = self.spec.rank, self.spec.process_count, self.spec.device
        got = f"process {rank} on {device} ended: {why or f'exit code {self.process.exitcode}'}"
        fix = "run again: training goes on where it was saved; engine.processes: 1 needs no other process"
        return TrainingError(f"{count} processes in training (engine.processes)", got, fix)


class DistributedPassRunner(PassRunner):
    """Helpers beside the first process."""

    def __init__(self, helpers: Sequence[_WorkerProcess]) -> None:
        """All of them joined."""
        self.workers = helpers
        self.process_count = 1 + len(helpers)

    def run_passes(
        self, deltas: StepDeltas, rows: Sequence[TrainingExample], tokens: int, *, train: bool, checkpointing: bool
    ) -> LossSums:
        """See `PassRunner.run_passes`; rows under weights of their own are computed here alone."""
        if deltas.has_own_weights:
            return run_local_passes(deltas, rows, tokens, train=train)
        mine, *others = divide_by_tokens(rows, self.process_count)
        outlines = [
            None if prefix is None else {name: one.shape for name, one in prefix.tensors.items()}
            for prefix in deltas.prefixes
        ]
        for helper, theirs in zip(self.workers, others, strict=True):
            helper.send(StepRequest(outlines, theirs, tokens, train, checkpointing))
        for helper in self.workers:
            helper.receive()
        with self._translate_exchange_errors():
            broadcast_values(deltas)
        problem: RuntimeError | MemoryError | None = None
        sums = LossSums.make_zeros(deltas.tenant_count, deltas.base.device)
        try:
            sums = run_local_passes(deltas, mine, tokens, train=train)
        except (RuntimeError, MemoryError) as found:
            if not is_out_of_memory(found):
                raise
            problem = found
        answers: list[StepResult] = [helper.receive() for helper in self.workers]
        if problem is None and any(answer.out_of_memory for answer in answers):
            problem = torch.OutOfMemoryError("out of memory in a helper process")
        for helper in self.workers:
            helper.send(train and problem is None)
        if problem is not None:
            raise problem
        if train:
            with self._translate_exchange_errors():
                sum_gradients(deltas)
        for answer in answers:
            sums += LossSums(torch.tensor(answer.nats_U).to(sums.nats_U), torch.tensor(answer.count_U).to(sums.count_U))
        return sums

    @contextmanager
    def _translate_exchange_errors(self) -> Iterator[None]:
        """A process that ends while tensors are under way is named."""
        try:
            yield
        except RuntimeError as problem:
            for helper in self.workers:
                if helper.process.exitcode is not None or helper.pipe.poll(_EXIT_TIMEOUT_S):
                    helper.receive()
            raise TrainingError(
                "tensors exchanged between processes", str(problem).splitlines()[0], "run again, it resumes"
            ) from problem


@contextmanager
def start_workers(base: Base, config: BaseConfig, engine: EngineConfig) -> Iterator[DistributedPassRunner]:
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
        own = ProcessSpec(0, count, str(base.device), threads, str(Path(folder) / "meeting"))
        helpers: list[_WorkerProcess] = []
        stack.callback(_stop_workers, helpers)
        for rank in range(1, count):
            place = replace(own, rank=rank, device="cpu" if cpu else f"{base.device.type}:{rank}")
            helpers.append(_start_worker(place, config, engine))
        for helper in helpers:
            helper.receive()
        for helper in helpers:
            helper.send(READY)
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)
        stack.enter_context(join_group(own))
        _log.info("training by %d processes, %d threads each", count, threads)
        yield DistributedPassRunner(helpers)


def divide_by_tokens(rows: Sequence[TrainingExample], count: int) -> list[list[TrainingExample]]:
    """The rows in `process_count` parts of about as many tokens; the first part has rows wherever there are any."""
    parts: list[list[TrainingExample]] = [[] for _ in range(count)]
    tokens = [0] * count
    for row in sorted(rows, key=lambda row: -row.pair.length):
        least = tokens.index(min(tokens))
        parts[least].append(row)
        tokens[least] += row.pair.length
    return parts


def _start_worker(place: ProcessSpec, config: BaseConfig, engine: EngineConfig) -> _WorkerProcess:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_worker, args=(place, config, engine, theirs), daemon=True)
    # A process inherits what is blocked: a Ctrl-C reaches this one alone, however early it comes.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with patch_environment(omp_num_threads=place.thread_count):
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return _WorkerProcess(place, process, ours)


def _stop_workers(helpers: Sequence[_WorkerProcess]) -> None:
    for helper in helpers:
        helper.pipe.close()
        helper.process.terminate()
    for helper in helpers:
        helper.process.join()
