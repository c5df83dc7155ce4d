"""The main process in training with several processes: it divides the rows of a step and sums up the results.

Only the main process has the tenants, their optimizers and their files. Does not know how a worker computes.
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
    STOP_SIGNALS,
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

    def send(self, message: Any) -> None:
        """Send a message to the worker. Raises TrainingError if it has ended."""
        try:
            self.pipe.send(message)
        except OSError:
            raise self.make_lost_error() from None

    def receive(self) -> Any:
        """Return the worker's next message. Raises TrainingError if it has ended or failed."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            raise self.make_lost_error() from None
        if isinstance(message, WorkerFailure):
            _log.error("process %d of training:\n%s", self.spec.rank, message.traceback_text)
            raise self.make_lost_error(message.traceback_text.strip().splitlines()[-1])
        return message

    def make_lost_error(self, why: str = "") -> TrainingError:
        """Return the error for a worker that ended; `why` defaults to its exit code."""
        self.process.join(_EXIT_TIMEOUT_S)
        rank, count, device = self.spec.rank, self.spec.process_count, self.spec.device
        got = f"process {rank} on {device} ended: {why or f'exit code {self.process.exitcode}'}"
        fix = "run again (training resumes from its saved state), or set engine.processes: 1 to train in one process"
        return TrainingError(f"{count} running training processes (engine.processes)", got, fix)


class DistributedPassRunner(PassRunner):
    """Runs the passes in this process and in worker processes."""

    def __init__(self, workers: Sequence[_WorkerProcess]) -> None:
        """All workers must have joined the process group."""
        self.workers = workers
        self.process_count = 1 + len(workers)

    def run_passes(
        self, deltas: StepDeltas, rows: Sequence[TrainingExample], tokens: int, *, train: bool, checkpointing: bool
    ) -> LossSums:
        """See `PassRunner.run_passes`. Rows of a delta with weights of its own are computed in this process only."""
        if deltas.has_own_weights:
            return run_local_passes(deltas, rows, tokens, train=train)
        mine, *others = divide_by_tokens(rows, self.process_count)
        prefix_shapes = [
            None if prefix is None else {name: one.shape for name, one in prefix.tensors.items()}
            for prefix in deltas.prefixes
        ]
        for worker, theirs in zip(self.workers, others, strict=True):
            worker.send(StepRequest(prefix_shapes, theirs, tokens, train, checkpointing))
        for worker in self.workers:
            worker.receive()
        with self._translate_exchange_errors():
            broadcast_values(deltas)
        out_of_memory: str | None = None
        sums = LossSums.make_zeros(deltas.tenant_count, deltas.base.device)
        try:
            sums = run_local_passes(deltas, mine, tokens, train=train)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            out_of_memory = str(error)  # not the error: its traceback would keep tensors of this step
        results: list[StepResult] = [worker.receive() for worker in self.workers]
        if out_of_memory is None and any(result.out_of_memory for result in results):
            out_of_memory = "out of memory in a worker process"
        for worker in self.workers:
            worker.send(train and out_of_memory is None)
        if out_of_memory is not None:
            raise torch.OutOfMemoryError(out_of_memory)
        if train:
            with self._translate_exchange_errors():
                sum_gradients(deltas)
        for result in results:
            sums += LossSums(torch.tensor(result.nats_U).to(sums.nats_U), torch.tensor(result.count_U).to(sums.count_U))
        return sums

    @contextmanager
    def _translate_exchange_errors(self) -> Iterator[None]:
        """Name the worker that ended, if tensors could not be exchanged because of it."""
        try:
            yield
        except RuntimeError as problem:
            for worker in self.workers:
                if worker.process.exitcode is not None or worker.pipe.poll(_EXIT_TIMEOUT_S):
                    worker.receive()
            fix = "run again (training resumes from its saved state)"
            raise TrainingError("tensors exchanged between processes", str(problem).splitlines()[0], fix) from problem


@contextmanager
def start_workers(base: Base, config: BaseConfig, engine: EngineConfig) -> Iterator[DistributedPassRunner]:
    """Start `engine.processes` - 1 workers and join the process group; see `open_pass_runner`."""
    count, cpu = engine.processes, base.device.type == "cpu"
    if not cpu and count > torch.cuda.device_count():
        got = f"engine.processes: {count} with {torch.cuda.device_count()} GPUs"
        raise ConfigError("a GPU for every training process", got, "set engine.processes lower")
    if torch.distributed.is_initialized():
        fix = "wait for the other one, train in another process, or set engine.processes: 1"
        raise TrainingError("at most one multi-process training at a time", "another one running in this process", fix)
    # This process may have measured which dtype is the fastest: the workers use the same one.
    config = config.model_copy(update={"dtype": str(base.model.dtype).removeprefix("torch.")})
    before = torch.get_num_threads()
    threads = max(1, before // count) if cpu else before
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        own = ProcessSpec(0, count, str(base.device), threads, str(Path(folder) / "rendezvous"))
        workers: list[_WorkerProcess] = []
        stack.callback(_stop_workers, workers)
        for rank in range(1, count):
            spec = replace(own, rank=rank, device="cpu" if cpu else f"{base.device.type}:{rank}")
            workers.append(_start_worker(spec, config, engine))
        for worker in workers:
            worker.receive()
        for worker in workers:
            worker.send(READY)
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)
        stack.enter_context(join_group(own))
        _log.info("training with %d processes, %d threads each", count, threads)
        yield DistributedPassRunner(workers)


def divide_by_tokens(rows: Sequence[TrainingExample], count: int) -> list[list[TrainingExample]]:
    """Divide rows into `count` parts with about the same number of tokens; the first part gets rows first."""
    parts: list[list[TrainingExample]] = [[] for _ in range(count)]
    tokens = [0] * count
    for row in sorted(rows, key=lambda row: -row.pair.length):
        least = tokens.index(min(tokens))
        parts[least].append(row)
        tokens[least] += row.pair.length
    return parts


def _start_worker(spec: ProcessSpec, config: BaseConfig, engine: EngineConfig) -> _WorkerProcess:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_worker, args=(spec, config, engine, theirs), daemon=True)
    # A child process inherits blocked signals: stop signals must reach only this process, even during the start.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        with patch_environment(omp_num_threads=spec.thread_count):
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return _WorkerProcess(spec, process, ours)


def _stop_workers(workers: Sequence[_WorkerProcess]) -> None:
    for worker in workers:
        worker.pipe.close()
        worker.process.kill()  # it ignores SIGTERM, and has nothing to save
    for worker in workers:
        worker.process.join()
