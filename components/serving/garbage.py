"""Exclude what a server makes while it starts from garbage collection.

A full collection stops all threads while it looks at every object: 0.2 to 0.7 s with the modules of torch, transformers
and MLflow, some of which are imported at the first request. Knows the process; does not know what a server is.
"""

import gc
from collections.abc import Callable

_FREEZES = 4


def freeze_survivors(freezes: int = _FREEZES) -> Callable[[], None]:
    """Exclude what exists now, and what survives the next full collections, `freezes` times in all.

    What becomes a cycle without references after that stays in memory, so this does not go on for ever. Returns a
    function that ends it before.
    """
    left = freezes - 1

    def freeze_once(phase: str, info: dict[str, int]) -> None:
        nonlocal left
        if phase == "stop" and info["generation"] == 2:
            gc.freeze()
            left -= 1
            if left <= 0:
                stop()

    def stop() -> None:
        if freeze_once in gc.callbacks:
            gc.callbacks.remove(freeze_once)

    gc.collect()
    gc.freeze()
    if left:
        gc.callbacks.append(freeze_once)
    return stop
