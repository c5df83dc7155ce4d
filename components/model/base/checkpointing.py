"""Gradient checkpointing of any model's blocks, in evaluation mode.

Transformers' own wants training mode, and with it dropout. Knows blocks; does not know what is attached to them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.utils.checkpoint import checkpoint

from components.model.base.blocks import all_blocks

_kept = ContextVar("kept", default=False)


@contextmanager
def checkpointed(model: Any) -> Iterator[None]:
    """Inside, every block keeps its inputs alone and computes the rest again for `backward` (Chen et al. 2016).

    Run `backward` inside too, and where the prefix is still attached.
    """
    blocks = all_blocks(model)
    for block in blocks:
        block.module.forward = _again(block.module.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.module.forward


def is_checkpointed(block: Any) -> bool:
    """Whether `block` computes again what it did not keep."""
    return "forward" in vars(block)


@contextmanager
def kept() -> Iterator[None]:
    """Inside, a forward keeps all that it computes: `backward` may find the model in another state than it ran in."""
    token = _kept.set(True)
    try:
        yield
    finally:
        _kept.reset(token)


def _again(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        if _kept.get():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run
