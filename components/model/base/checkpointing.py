"""Gradient checkpointing of any model's blocks, in evaluation mode.

Transformers' own wants training mode, and with it dropout. Knows blocks; does not know what is attached to them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.utils.checkpoint import checkpoint

from components.model.base.blocks import find_all_blocks

_checkpointing_is_off = ContextVar("kept", default=False)


@contextmanager
def checkpoint_blocks(model: Any) -> Iterator[None]:
    """Inside, every block keeps its inputs alone and computes the rest again for `backward` (Chen et al. 2016).

    Run `backward` inside too, and where the prefix is still attached.
    """
    blocks = find_all_blocks(model)
    for block in blocks:
        block.module.forward = _wrap_forward(block.module.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.module.forward


def is_checkpointed(block: Any) -> bool:
    """Whether `block` computes again what it did not keep."""
    return "forward" in vars(block)


@contextmanager
def disable_checkpointing() -> Iterator[None]:
    """Inside, a forward keeps all that it computes: `backward` may find the model in another state than it ran in."""
    token = _checkpointing_is_off.set(True)
    try:
        yield
    finally:
        _checkpointing_is_off.reset(token)


def _wrap_forward(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        if _checkpointing_is_off.get():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run
