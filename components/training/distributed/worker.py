"""A helper process: it holds the base on a device of its own and computes the rows that it is sent.

It knows the slots of a step and nothing of tenants, optimizers or files, so nothing of it is missed when it ends. Words
go through a pipe, which tells at once when the other side is gone; tensors through accelerate: the slots to all, the
slots' gradients summed over all.
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
    """One process of `process_count`, the first with rank 0; all share `rendezvous_file`, which does not exist yet."""

    rank: int
    process_count: int
    device: str
    thread_count: int
    rendezvous_file: str


@dataclass(frozen=True, slots=True)
class StepRequest:
    """A helper's part of a step; `prefix_shapes` are the shapes of every tenant's prefix, whose values follow."""

    prefix_shapes: list[dict[str, torch.Size] | None]
    rows: list[TrainingExample]
    tokens: int
    train: bool
    checkpointing: bool


@dataclass(frozen=True, slots=True)
class StepResult:
    """Every tenant's part of a helper's rows, or that there was not enough memory for them."""

    nats_U: list[float]
    count_U: list[int]
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """What ended a helper, as Python tells it."""

    traceback_text: str


READY = "ready"
_GROUP_TIMEOUT = timedelta(minutes=5)
"""With the group's tensors, for which all processes are ready when they are sent."""


def run_worker(place: ProcessSpec, config: BaseConfig, engine: EngineConfig, pipe: Connection) -> None:
    """Be a helper until the pipe closes. Ctrl-C is the first process's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        torch.set_num_threads(place.thread_count)
        base = load_base(config, device=place.device)
        pipe.send(READY)
        pipe.recv()
        compiled = compile_activations(base.model) if engine.compile else nullcontext()
        with join_group(place), compiled:
            while True:
                _compute_step(base, pipe.recv(), pipe)
    except EOFError:
        return
    except Exception:  # noqa: BLE001 - the first process is told, and tells the user
        with suppress(OSError):
            pipe.send(WorkerFailure(traceback.format_exc()))
        sys.exit(1)


@contextmanager
def join_group(place: ProcessSpec) -> Iterator[None]:
    """Inside, this process belongs to the group; it waits for all others to come."""
    values = {
        "rank": place.rank,
        "world_size": place.process_count,
        "local_rank": place.rank,
        "local_world_size": place.process_count,
        "master_addr": "127.0.0.1",
        "master_port": 0,
        "omp_num_threads": place.thread_count,
        "gloo_socket_ifname": "lo" if sys.platform == "linux" else "lo0",
    }
    method = {
        "init_method": f"file://{place.rendezvous_file}",
        "rank": place.rank,
        "world_size": place.process_count,
        "timeout": _GROUP_TIMEOUT,
    }
    PartialState._reset_state()
    with patch_environment(**values):
        state = PartialState(cpu=place.device == "cpu", **method)
    try:
        yield
    finally:
        state.destroy_process_group()
        PartialState._reset_state()


def broadcast_values(deltas: StepDeltas) -> None:
    """Give the first process's slots to every process."""
    flat = broadcast(_flatten(deltas, [leaf.detach() for leaf in deltas.leaves]))
    for leaf, values in zip(deltas.leaves, _split_flat(deltas, flat), strict=True):
        leaf.data.copy_(values)


def sum_gradients(deltas: StepDeltas) -> None:
    """Add up the slots' gradients of all processes, in each."""
    zeros = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in deltas.leaves]
    for leaf, values in zip(deltas.leaves, _split_flat(deltas, reduce(_flatten(deltas, zeros), "sum")), strict=True):
        if leaf.requires_grad:
            leaf.grad = values.to(leaf)


def _compute_step(base: Base, work: StepRequest, pipe: Connection) -> None:
    pipe.send(READY)
    # Outside `checkpoint_blocks`: the first deltas probe the model, and a checkpointed block cannot be cut.
    deltas = StepDeltas(
        base, [_make_empty_delta(outline, base.device, train=work.train) for outline in work.prefix_shapes]
    )
    broadcast_values(deltas)
    with checkpoint_blocks(base.model) if work.checkpointing else nullcontext():
        try:
            sums = run_local_passes(deltas, work.rows, work.tokens, train=work.train)
            pipe.send(StepResult(sums.nats_U.tolist(), sums.count_U.tolist()))
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            pipe.send(StepResult([], [], out_of_memory=True))
    if pipe.recv():
        sum_gradients(deltas)


def _make_empty_delta(outline: dict[str, torch.Size] | None, device: torch.device, *, train: bool) -> Delta:
    if outline is None:
        return Delta()
    tensors = {name: torch.zeros(size, device=device, requires_grad=train) for name, size in outline.items()}
    return Delta(prefix=Prefix(tensors))


def _flatten(deltas: StepDeltas, tensors: Sequence[Tensor]) -> Tensor:
    """All values as one tensor of float32 on the base's device."""
    device = deltas.base.device
    return torch.cat([torch.zeros(0, device=device), *(one.flatten().to(device, torch.float32) for one in tensors)])


def _split_flat(deltas: StepDeltas, flat: Tensor) -> list[Tensor]:
    parts = torch.split(flat, [leaf.numel() for leaf in deltas.leaves])
    return [part.view(leaf.shape) for part, leaf in zip(parts, deltas.leaves, strict=True)]
