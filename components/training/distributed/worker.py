"""A worker process: it holds the base on its own device and computes the rows that the main process sends.

It knows the prefixes of a step, but no tenants, optimizers or files, so no state is lost when it ends. Messages go
through a pipe, which shows at once that the other side has ended. Tensors go through accelerate: prefixes are broadcast
to all processes, and their gradients are summed over all.
"""

import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, patch_environment, reduce
from torch import Tensor

from components.config import BaseConfig, EngineConfig
from components.model.base.activation import compile_activations
from components.model.base.checkpointing import checkpoint_blocks
from components.model.base.load import Base, load_base
from components.model.base.out_of_memory import is_out_of_memory
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.training.distributed.passes import run_local_passes
from components.training.objective import StepDeltas, TrainingExample


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of a group."""

    rank: int
    """0 for the main process."""
    process_count: int
    device: str
    thread_count: int
    rendezvous_file: str
    """The same path for all processes of the group; the file does not exist yet."""


@dataclass(frozen=True, slots=True)
class StepRequest:
    """A worker's part of a step; the values of the prefixes follow by broadcast."""

    prefix_shapes: list[dict[str, torch.Size] | None]
    """Tensor name -> shape for every tenant's prefix; None for a tenant without a prefix."""
    rows: list[TrainingExample]
    tokens: int
    """Most tokens in one pass."""
    train: bool
    """Whether gradients are computed."""
    checkpointing: bool


@dataclass(frozen=True, slots=True)
class StepResult:
    """The sums of a worker's rows per tenant, or that its memory did not suffice."""

    nats_U: list[float]
    count_U: list[int]
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """The exception that ended a worker."""

    traceback_text: str


READY = "ready"
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""Signals that reach all processes of a command, as Ctrl-C on a terminal."""
_GROUP_TIMEOUT = timedelta(minutes=5)
"""For the exchange of tensors. It is short, since all processes are ready when an exchange starts."""


def run_worker(spec: ProcessSpec, config: BaseConfig, engine: EngineConfig, pipe: Connection) -> None:
    """Work until the pipe closes. Ignores Ctrl-C and the other stop signals, which the main process handles."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        torch.set_num_threads(spec.thread_count)
        base = load_base(config, device=spec.device)
        pipe.send(READY)
        pipe.recv()
        compiled = compile_activations(base.model) if engine.compile else nullcontext()
        with join_group(spec), compiled:
            while True:
                _compute_step(base, pipe.recv(), pipe)
    except EOFError:
        return
    except Exception:  # noqa: BLE001 - the main process gets the traceback and reports it
        with suppress(OSError):
            pipe.send(WorkerFailure(traceback.format_exc()))
        sys.exit(1)


@contextmanager
def join_group(spec: ProcessSpec) -> Iterator[None]:
    """Join the process group for the block; waits until all processes have joined."""
    values = {
        "rank": spec.rank,
        "world_size": spec.process_count,
        "local_rank": spec.rank,
        "local_world_size": spec.process_count,
        "master_addr": "127.0.0.1",
        "master_port": 0,
        "omp_num_threads": spec.thread_count,
        "gloo_socket_ifname": "lo" if sys.platform == "linux" else "lo0",
    }
    method = {
        "init_method": f"file://{spec.rendezvous_file}",
        "rank": spec.rank,
        "world_size": spec.process_count,
        "timeout": _GROUP_TIMEOUT,
    }
    PartialState._reset_state()
    with patch_environment(**values):
        state = PartialState(cpu=spec.device == "cpu", **method)
    try:
        yield
    finally:
        state.destroy_process_group()
        PartialState._reset_state()


def broadcast_values(deltas: StepDeltas) -> None:
    """Copy the main process's prefix values to all processes."""
    flat = broadcast(_flatten(deltas, [leaf.detach() for leaf in deltas.leaves]))
    for leaf, values in zip(deltas.leaves, _split_flat(deltas, flat), strict=True):
        leaf.data.copy_(values)


def sum_gradients(deltas: StepDeltas) -> None:
    """Sum the gradients of the prefixes over all processes; every process gets the sums."""
    zeros = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in deltas.leaves]
    for leaf, values in zip(deltas.leaves, _split_flat(deltas, reduce(_flatten(deltas, zeros), "sum")), strict=True):
        if leaf.requires_grad:
            leaf.grad = values.to(leaf)


def _compute_step(base: Base, request: StepRequest, pipe: Connection) -> None:
    pipe.send(READY)
    # Outside of `checkpoint_blocks`: the first deltas probe the model, and a checkpointed block cannot be cut.
    deltas = StepDeltas(
        base, [_make_empty_delta(shapes, base.device, train=request.train) for shapes in request.prefix_shapes]
    )
    broadcast_values(deltas)
    with checkpoint_blocks(base.model) if request.checkpointing else nullcontext():
        try:
            sums = run_local_passes(deltas, request.rows, request.tokens, train=request.train)
            pipe.send(StepResult(sums.nats_U.tolist(), sums.count_U.tolist()))
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            pipe.send(StepResult([], [], out_of_memory=True))
    if pipe.recv():
        sum_gradients(deltas)


def _make_empty_delta(shapes: dict[str, torch.Size] | None, device: torch.device, *, train: bool) -> Delta:
    if shapes is None:
        return Delta()
    tensors = {name: torch.zeros(size, device=device, requires_grad=train) for name, size in shapes.items()}
    return Delta(prefix=Prefix(tensors))


def _flatten(deltas: StepDeltas, tensors: Sequence[Tensor]) -> Tensor:
    """Join all values into one float32 tensor on the base's device."""
    device = deltas.base.device
    return torch.cat([torch.zeros(0, device=device), *(one.flatten().to(device, torch.float32) for one in tensors)])


def _split_flat(deltas: StepDeltas, flat: Tensor) -> list[Tensor]:
    parts = torch.split(flat, [leaf.numel() for leaf in deltas.leaves])
    return [part.view(leaf.shape) for part, leaf in zip(parts, deltas.leaves, strict=True)]
