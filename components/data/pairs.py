"""Encoded training pairs: token ids of source and target, as arrays or as tuples. Knows no tokenizer and no file.

Shapes: R pairs, 2 for source and target, N tokens of all pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

Texts = Sequence[tuple[str, str]]
"""Source and reference of every pair."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one training pair; both end with the end-of-text id (or the code that a tokenizer puts there)."""

    source_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of source and target together."""
        return len(self.source_ids) + len(self.target_ids)


class Pairs(Sequence[Encoded]):
    """Encoded pairs as arrays, wherever these lie (a mapped file, say); a pair is made when it is asked for."""

    def __init__(self, ids_N: NDArray[np.int32], sizes_R2: NDArray[np.int32], starts_R: NDArray[np.int64]) -> None:
        """Each pair's source and, right behind it, its target stand in `ids_N` from `starts_R` on."""
        self.ids_N, self.sizes_R2, self._starts_R = ids_N, sizes_R2, starts_R

    @classmethod
    def end_to_end(cls, ids_N: NDArray[np.int32], sizes_R2: NDArray[np.int32]) -> "Pairs":
        """Pairs that follow one another without a gap."""
        lengths_R = sizes_R2.sum(axis=1, dtype=np.int64)
        return cls(ids_N, sizes_R2, lengths_R.cumsum() - lengths_R)

    def __len__(self) -> int:
        return len(self.sizes_R2)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...

    @overload
    def __getitem__(self, index: slice) -> "Pairs": ...

    def __getitem__(self, index: int | slice) -> "Encoded | Pairs":
        if isinstance(index, slice):
            return Pairs(self.ids_N, self.sizes_R2[index], self._starts_R[index])
        start, (source, target) = int(self._starts_R[index]), self.sizes_R2[index].tolist()
        ids = self.ids_N[start : start + source + target].tolist()
        return Encoded(tuple(ids[:source]), tuple(ids[source:]))


def sizes_of(pairs: Sequence[Encoded]) -> NDArray[np.int32]:
    """Tokens of every source and target, [R, 2], without making a pair where they are known."""
    if isinstance(pairs, Pairs):
        return pairs.sizes_R2
    sizes = [(len(pair.source_ids), len(pair.target_ids)) for pair in pairs]
    return np.array(sizes, dtype=np.int32).reshape(-1, 2)
