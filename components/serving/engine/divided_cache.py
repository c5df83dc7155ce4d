"""The KV cache of a base that is divided among processes: every rank has the keys and values of its own heads.

Rank 0 decides where columns are. Its changes go to the other ranks with the next forward pass. Knows `KVCache`; does
not know how a token is chosen.
"""

import os
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from components.errors import TrainingError
from components.model.base.load import Base
from components.model.base.tensor_parallel import is_tensor_parallel
from components.model.ranks import get_rank, run_on_all_ranks, share
from components.serving.engine.kv_cache import BranchInput, KVCache

_Change = tuple[str, tuple[Any, ...]]


class DividedKVCache:
    """See `KVCache`; used on rank 0, from one thread."""

    def __init__(self, base: Base, max_branches: int) -> None:
        """Create an empty cache on every rank. Raises BaseModelError, see `KVCache`."""
        self.cache: KVCache = run_on_all_ranks(_make_cache, base, max_branches)
        self._changes: list[_Change] = []

    @property
    def free_count(self) -> int:
        """See `KVCache.free_count`."""
        return self.cache.free_count

    @property
    def cached_columns(self) -> list[int]:
        """See `KVCache.cached_columns`."""
        return self.cache.cached_columns

    def activate(self) -> AbstractContextManager[None]:
        """Do nothing: every forward pass activates the cache on its rank."""
        return nullcontext()

    def allocate(self) -> int:
        """See `KVCache.allocate`."""
        return int(self._change("allocate"))

    def release(self, cache_index: int, *, wipe: bool = False) -> None:
        """See `KVCache.release`."""
        self._change("release", cache_index, wipe)

    def fork(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """See `KVCache.fork`."""
        self._change("fork", list(sources), list(targets))

    def compact(self) -> bool:
        """See `KVCache.compact`."""
        return bool(self._change("compact"))

    def write_slots(self, cache_index: int, slots_L2HPD: Tensor) -> None:
        """See `KVCache.write_slots`; the slots have all heads."""
        self._change("write_slots", cache_index, slots_L2HPD)

    def advance(self, cache_index: int, tokens: int) -> None:
        """See `KVCache.advance`."""
        self._change("advance", cache_index, tokens)

    def forward(self, inputs: Sequence[BranchInput]) -> Tensor:
        """See `KVCache.forward`. If a rank has ended, the server stops: it could not answer any more.

        Raises:
            TrainingError: a rank has ended, or is out of memory.
        """
        changes, self._changes = self._changes, []
        try:
            logits_WV: Tensor = run_on_all_ranks(_forward, self.cache, changes, list(inputs))
        except TrainingError:
            os.kill(os.getpid(), signal.SIGTERM)
            raise
        return logits_WV

    def _change(self, name: str, *arguments: Any) -> Any:
        result = _apply(self.cache, (name, arguments))
        self._changes.append((name, arguments))
        return result


def make_cache(base: Base, max_branches: int) -> KVCache | DividedKVCache:
    """Make the cache of a base. Raises BaseModelError, see `KVCache`."""
    return (DividedKVCache if is_tensor_parallel(base.model) else KVCache)(base, max_branches)


def _make_cache(base: Base, max_branches: int) -> KVCache:
    cache: KVCache = share(KVCache(base, max_branches))
    return cache


def _forward(cache: KVCache, changes: Sequence[_Change], inputs: Sequence[BranchInput]) -> Tensor:
    if get_rank():  # rank 0 has changed its cache already
        for change in changes:
            _apply(cache, change)
    with cache.activate():
        return cache.forward(inputs)


def _apply(cache: KVCache, change: _Change) -> Any:
    name, arguments = change
    if name == "release":
        index, wipe = arguments
        return cache.release(index, wipe=wipe)
    return getattr(cache, name)(*arguments)
