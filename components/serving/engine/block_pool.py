"""Keys and values in blocks of a few columns: a reader has as many as it needs, wherever they are free.

One tensor a layer holds all blocks. It grows by a part when they run out and is cut when its end is free, a layer at a
time, so that memory follows what rows need. Knows sizes; does not know rows, attention or models.

Shapes: L layers, B blocks, H key/value heads, S columns of a block, D head size, P slots, E blocks that are looked at.
"""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

import torch

from components.model.base.out_of_memory import is_out_of_memory
from components.model.base.shapes import PrefixShape

BLOCK_COLUMNS = 32
"""S: so many waste half a block a reader, and give products enough to do."""
_GROWTH_FACTOR = 1.25
"""Blocks become so many times as many, until memory has been short."""


class BlockPool:
    """The blocks of all layers, each layer's [2, B, H, S, D]."""

    def __init__(self, shape: PrefixShape, min_blocks: int, dtype: torch.dtype, device: torch.device) -> None:
        """Never fewer than `min_blocks` blocks; all of them hold zeros."""
        size = (2, min_blocks, shape.kv_heads, BLOCK_COLUMNS, shape.head_dim)
        self.layers = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers)]
        self._min_blocks, self._block_count, self._growth_factor = min_blocks, min_blocks, _GROWTH_FACTOR
        self._free_blocks = list(range(min_blocks))

    def ensure_free(self, blocks: int) -> None:
        """See that so many are free. Raises MemoryError: there is no memory; all blocks stay as they were."""
        missing = blocks - len(self._free_blocks)
        if missing > 0:
            least = self._block_count + missing
            if not any(map(self._resize, (max(least, int(self._block_count * self._growth_factor)), least))):
                raise MemoryError(f"out of memory for {missing} blocks beside {self._block_count}")

    def allocate(self) -> int:
        """The first free block; `ensure_free` sees that there is one."""
        return heappop(self._free_blocks)

    def release(self, blocks: Sequence[int], *, wipe: bool = False) -> None:
        """Take blocks back; `wipe` what may hold values that are no numbers, which no mask would keep apart."""
        if wipe and blocks:
            index_E = torch.tensor(blocks, device=self.layers[0].device)
            for layer_2BHSD in self.layers:
                layer_2BHSD.index_fill_(1, index_E, 0.0)
        for block in blocks:
            heappush(self._free_blocks, block)
        if 2 * len(self._free_blocks) > self._block_count > self._min_blocks:
            free = set(self._free_blocks)
            reach = next((block + 1 for block in reversed(range(self._block_count)) if block not in free), 0)
            if 2 * (kept := max(self._min_blocks, 2 * reach)) <= self._block_count:
                self._resize(kept)

    def compact(self, owners: Iterable[list[int]]) -> bool:
        """Memory is short: keep no free block, now and from here on; whether that gave any back.

        Blocks at the end move to where others are free, in the lists of their `owners`, which have all that are taken.
        """
        self._growth_factor = 1.0
        kept = max(self._min_blocks, self._block_count - len(self._free_blocks))
        if kept == self._block_count:
            return False
        for own in owners:
            for place, block in enumerate(own):
                if block >= kept:
                    own[place] = self.allocate()
                    for layer_2BHSD in self.layers:
                        layer_2BHSD[:, own[place]] = layer_2BHSD[:, block]
        return self._resize(kept)

    def _resize(self, count: int) -> bool:
        """Whether there was memory for it; a layer may hold more blocks than are counted, never fewer."""
        self._set_block_count(min(count, self._block_count))
        try:
            for number, old_2BHSD in enumerate(self.layers):
                new_2BHSD = old_2BHSD.new_zeros(2, count, *old_2BHSD.shape[2:])
                new_2BHSD[:, : self._block_count] = old_2BHSD[:, : self._block_count]
                self.layers[number] = new_2BHSD
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            return False
        self._set_block_count(count)
        return True

    def _set_block_count(self, count: int) -> None:
        self._free_blocks = [block for block in self._free_blocks if block < count] + list(
            range(self._block_count, count)
        )
        heapify(self._free_blocks)
        self._block_count = count
