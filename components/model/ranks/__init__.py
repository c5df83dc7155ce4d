"""The processes that torchrun has started for one command: rank 0 runs it, the others repeat its model operations.

An operation is a function and its arguments. Rank 0 sends it to the other ranks, and all run it together, so that each
computes its part of the model. Objects that every rank has made in an operation (a base, a batch that is decoded) are
sent as numbers. Only rank 0 reads data, chooses tokens, trains and writes files. Knows processes; does not know models.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from components.model.ranks.session import RankSession

_TORCHRUN_VARIABLE = "TORCHELASTIC_RUN_ID"
_OPERATION_TIMEOUT = timedelta(minutes=30)
_IDLE_TIMEOUT = timedelta(days=30)
"""For the ranks that wait until rank 0 needs the model. The end of rank 0 is noticed at once."""
_session: RankSession | None = None


def count_processes() -> int:
    """Return how many processes torchrun has started for this command; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _TORCHRUN_VARIABLE in os.environ else 1


def count_ranks() -> int:
    """Return the number of processes that have joined this one in `join_ranks`; 1 outside of it."""
    return 1 if _session is None else _session.count


def get_rank() -> int:
    """Return this process's number; 0 outside of `join_ranks`."""
    return 0 if _session is None else _session.rank


def is_inside_operation() -> bool:
    """Whether all ranks run the calling function, so that it may compute with a part of a model."""
    return _session is not None and _session.is_inside


def run_on_all_ranks(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return `function(*arguments)`, which all ranks run; a function of a module, and arguments that can be pickled.

    Outside of `join_ranks`, and inside such a function, it is an ordinary call.

    Raises:
        TrainingError: a rank has ended or failed, so that nothing more can be computed.
    """
    if _session is None or _session.is_inside:
        return function(*arguments)
    return _session.lead(function, arguments)


def share(one: Any) -> Any:
    """Let later operations name this object, which every rank makes in the same operation. Return it."""
    if _session is not None:
        _session.share(one)
    return one


def gather_from_ranks(value: Any) -> list[Any]:
    """Return the value of every rank, by rank; called inside an operation."""
    if _session is None:
        return [value]
    import torch

    values: list[Any] = [None] * _session.count
    torch.distributed.all_gather_object(values, value, group=_session.group)
    return values


@contextmanager
def join_ranks() -> Iterator[bool]:
    """Join the processes that torchrun has started; yield whether this one is rank 0, which runs the command.

    On the other ranks the block is entered when the command has ended: they repeat its operations before.
    """
    global _session
    import torch

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_OPERATION_TIMEOUT)
    group = torch.distributed.new_group(backend="gloo", timeout=_IDLE_TIMEOUT)
    session = _session = RankSession(torch.distributed.get_rank(), torch.distributed.get_world_size(), group)
    try:
        if session.rank:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # rank 0 handles them
            logging.disable(logging.WARNING)
            session.follow()
        yield not session.rank
    finally:
        if not session.rank:
            session.end()
        _session = None
        if not session.is_broken:
            torch.distributed.destroy_process_group()
