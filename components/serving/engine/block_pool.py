"""Blocks of keys and values: each branch uses as many blocks as it needs, in any order. Branches may share blocks.

One tensor for each layer holds all blocks. It grows when no block is free, and shrinks when its end is free, so that
memory follows the need of the rows; layers are resized one at a time. Knows sizes; does not know rows, attention or
models.

Shapes: L layers, B blocks, H key/value heads, S columns of a block, D head size, P slots, E selected blocks.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

import torch

from components.model.base.out_of_memory import is_out_of_memory
from components.model.base.shapes import PrefixShape

BLOCK_COLUMNS = 32
"""S. A branch wastes half a block on average; smaller blocks make the matrix products too small."""
GROWTH_FACTOR = 1.25
"""Growth of the number of blocks, until memory has run out once."""


class BlockPool:
    """The blocks of all layers; each layer is [2, B, H, S, D]."""

    def __init__(self, shape: PrefixShape, min_blocks: int, dtype: torch.dtype, device: torch.device) -> None:
        """Create `min_blocks` blocks of zeros, the minimum that is always kept."""
        size = (2, min_blocks, shape.kv_heads, BLOCK_COLUMNS, shape.head_dim)
        self.layers = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers)]
        self._min_blocks, self._block_count, self._growth_factor = min_blocks, min_blocks, GROWTH_FACTOR
        self._free_blocks = list(range(min_blocks))
        self._other_users: Counter[int] = Counter()
        """How many tables beside one use a block that is shared."""

    def ensure_free(self, blocks: int) -> None:
        """Grow until `blocks` blocks are free. Raises MemoryError: out of memory; all blocks stay as they were."""
        missing = blocks - len(self._free_blocks)
        if missing > 0:
            least = self._block_count + missing
            if not any(map(self._resize, (max(least, int(self._block_count * self._growth_factor)), least))):
                raise MemoryError(f"out of memory for {missing} more blocks, beside {self._block_count}")

    def allocate(self) -> int:
        """Return the first free block; call `ensure_free` first."""
        return heappop(self._free_blocks)

    def share(self, blocks: Iterable[int]) -> None:
        """Count one more table that uses these blocks; each of their tables releases them."""
        self._other_users.update(blocks)

    def copy(self, blocks: Sequence[int], copies: Sequence[int]) -> None:
        """Copy blocks to others, which are allocated."""
        if blocks:
            index_2E = torch.tensor([blocks, copies], device=self.layers[0].device)
            for layer_2BHSD in self.layers:
                layer_2BHSD.index_copy_(1, index_2E[1], layer_2BHSD.index_select(1, index_2E[0]))

    def release(self, blocks: Sequence[int], *, wipe: bool = False) -> None:
        """Free blocks that no other table uses; `wipe` those that may hold NaN, which a mask does not hide."""
        if self._other_users:
            blocks = [block for block in blocks if not self._remove_user(block)]
        if wipe and blocks:
            index_E = torch.tensor(blocks, device=self.layers[0].device)
            for layer_2BHSD in self.layers:
                layer_2BHSD.index_fill_(1, index_E, 0.0)
        for block in blocks:
            heappush(self._free_blocks, block)
        if 2 * len(self._free_blocks) > self._block_count > self._min_blocks:
            free = set(self._free_blocks)
            end = next((block + 1 for block in reversed(range(self._block_count)) if block not in free), 0)
            if 2 * (kept := max(self._min_blocks, 2 * end)) <= self._block_count:
                self._resize(kept)

    def compact(self, block_tables: Iterable[list[int]]) -> bool:
        """Release all free blocks, as memory has run out; from now on, grow only as far as needed.

        Moves blocks at the end into free ones and updates `block_tables`, which list all blocks in use. Returns whether
        any memory was released.
        """
        self._growth_factor = 1.0
        kept = max(self._min_blocks, self._block_count - len(self._free_blocks))
        if kept == self._block_count:
            return False
        moved: dict[int, int] = {}
        for table in block_tables:
            for index, block in enumerate(table):
                if block >= kept and block not in moved:
                    moved[block] = self.allocate()
                    for layer_2BHSD in self.layers:
                        layer_2BHSD[:, moved[block]] = layer_2BHSD[:, block]
                table[index] = moved.get(block, block)
        self._other_users = Counter({moved.get(block, block): count for block, count in self._other_users.items()})
        return self._resize(kept)

    def _remove_user(self, block: int) -> bool:
        """Return whether another table still uses the block."""
        if block not in self._other_users:
            return False
        self._other_users[block] -= 1
        if not self._other_users[block]:
            del self._other_users[block]
        return True

    def _resize(self, count: int) -> bool:
        """Resize every layer to `count` blocks; return False if memory runs out.

        After a failure some layers may have more blocks than the pool counts.
        """
        self._set_block_count(min(count, self._block_count))
        try:
            for layer, old_2BHSD in enumerate(self.layers):
                new_2BHSD = old_2BHSD.new_zeros(2, count, *old_2BHSD.shape[2:])
                new_2BHSD[:, : self._block_count] = old_2BHSD[:, : self._block_count]
                self.layers[layer] = new_2BHSD
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            return False
        self._set_block_count(count)
        return True

    def _set_block_count(self, count: int) -> None:
        kept = [block for block in self._free_blocks if block < count]
        self._free_blocks = kept + list(range(self._block_count, count))
        heapify(self._free_blocks)
        self._block_count = count
