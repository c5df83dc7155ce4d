"""Which KV cache blocks hold which artifact's data, so that a drop can erase exactly those.

Fed with every allocation that the scheduler makes. Knows ids of blocks, requests and artifacts; does not know tensors.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

NO_OWNER = ""
"""The owner of blocks of the base alone."""


@dataclass(slots=True)
class _LiveRequest:
    owner: str
    blocks: list[list[int]]
    """The block ids of each KV cache group."""
    tokens: int = 0
    """Computed after this step."""


class BlockOwners:
    """The last owner of every block that was ever allocated, and the blocks of requests in flight."""

    def __init__(self, block_sizes: Sequence[int]) -> None:
        """Start empty; `block_sizes` are tokens in a block of each KV cache group."""
        self._block_sizes = block_sizes
        self._owners: dict[int, str] = {}
        self._live: dict[str, _LiveRequest] = {}

    def set_blocks(self, request_id: str, owner: str, groups: Sequence[Sequence[int]], tokens: int) -> None:
        """Note all blocks of a request that is scheduled anew, and its computed tokens after this step."""
        self._live[request_id] = _LiveRequest(owner, [list(ids) for ids in groups], tokens)
        self._own(owner, groups)

    def add_blocks(self, request_id: str, groups: Sequence[Sequence[int]] | None, tokens: int) -> None:
        """Note further blocks of a running request, and its computed tokens after this step."""
        live = self._live[request_id]
        live.tokens = tokens
        if groups is not None:
            for ids, more in zip(live.blocks, groups, strict=True):
                ids.extend(more)
            self._own(live.owner, groups)

    def remove_request(self, request_id: str) -> None:
        """Note that a request's blocks are free, or cached."""
        self._live.pop(request_id, None)

    def find_traces(self, sha256s: Collection[str], is_cached: Callable[[int], bool]) -> dict[int, int]:
        """Return block id -> first token slot with possible traces of these artifacts.

        A block may have changed hands and be filled in part by its new owner: what lies behind that is a trace as well.
        Cached blocks of other owners are full, so they have none.
        """
        filled = self._count_filled_slots()
        traces = {}
        for block, owner in self._owners.items():
            if block in filled:
                slots, size = filled[block]
                if slots < size:
                    traces[block] = slots
            elif owner in sha256s or not is_cached(block):
                traces[block] = 0
        for block, first in traces.items():
            if first == 0:
                del self._owners[block]
        return traces

    def _own(self, owner: str, groups: Sequence[Sequence[int]]) -> None:
        for ids in groups:
            for block in ids:
                self._owners[block] = owner

    def _count_filled_slots(self) -> dict[int, tuple[int, int]]:
        """Return block id -> slots filled by requests in flight, and slots of the block."""
        filled: dict[int, tuple[int, int]] = {}
        for live in self._live.values():
            for ids, size in zip(live.blocks, self._block_sizes, strict=True):
                for place, block in enumerate(ids):
                    slots = min(size, max(0, live.tokens - place * size))
                    filled[block] = max(slots, filled.get(block, (0, size))[0]), size
        return filled
