"""Gradient checkpointing of any model's blocks, in evaluation mode.

The checkpointing of transformers needs training mode, which turns dropout on. Knows blocks; does not know prefixes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.utils.checkpoint import checkpoint

from components.model.base.blocks import find_all_blocks

_checkpointing_is_off = ContextVar("checkpointing_is_off", default=False)


@contextmanager
def checkpoint_blocks(model: Any) -> Iterator[None]:
    """Inside, every block saves only its inputs and recomputes the rest in `backward` (Chen et al. 2016).

    Call `backward` inside too, while the prefix is still attached.
    """
    blocks = find_all_blocks(model)
    hooked = [vars(block.module).get("forward") for block in blocks]  # accelerate's, of a model on several devices
    for block in blocks:
        block.module.forward = _wrap_forward(block.module.forward)
    try:
        yield
    finally:
        for block, forward in zip(blocks, hooked, strict=True):
            del block.module.forward
            if forward is not None:
                block.module.forward = forward


def is_checkpointed(block: Any) -> bool:
    """Whether `checkpoint_blocks` has wrapped `block`."""
    return getattr(vars(block).get("forward"), "checkpoints", False)


@contextmanager
def disable_checkpointing() -> Iterator[None]:
    """Inside, blocks run without checkpointing, so that `backward` does not recompute with a changed model."""
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

    run.checkpoints = True  # type: ignore[attr-defined]
    return run
