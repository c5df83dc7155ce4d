"""Encoded training pairs: token ids of source and target, as arrays or as tuples. Knows no tokenizer and no file.

Shapes: R pairs, 2 for source and target, N tokens of all pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

TextPairs = Sequence[tuple[str, str]]
"""Source and reference of every pair."""


@dataclass(frozen=True, slots=True)
class TokenizedPair:
    """Token ids of one training pair; source and target both end with the end-of-text id of their tokenizer."""

    source_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Number of tokens of source and target together."""
        return len(self.source_ids) + len(self.target_ids)


class TokenizedPairs(Sequence[TokenizedPair]):
    """Encoded pairs as arrays, in memory or in a mapped file; a pair object is made only when it is indexed."""

    def __init__(self, ids_N: NDArray[np.int32], sizes_R2: NDArray[np.int32], starts_R: NDArray[np.int64]) -> None:
        """Pair r's source, directly followed by its target, begins in `ids_N` at `starts_R[r]`."""
        self.ids_N, self.sizes_R2, self._starts_R = ids_N, sizes_R2, starts_R

    @classmethod
    def from_contiguous(cls, ids_N: NDArray[np.int32], sizes_R2: NDArray[np.int32]) -> "TokenizedPairs":
        """Return pairs that follow one another in `ids_N` without gaps."""
        lengths_R = sizes_R2.sum(axis=1, dtype=np.int64)
        return cls(ids_N, sizes_R2, lengths_R.cumsum() - lengths_R)

    def __len__(self) -> int:
        return len(self.sizes_R2)

    @overload
    def __getitem__(self, index: int) -> TokenizedPair: ...

    @overload
    def __getitem__(self, index: slice) -> "TokenizedPairs": ...

    def __getitem__(self, index: int | slice) -> "TokenizedPair | TokenizedPairs":
        if isinstance(index, slice):
            return TokenizedPairs(self.ids_N, self.sizes_R2[index], self._starts_R[index])
        start, (source, target) = int(self._starts_R[index]), self.sizes_R2[index].tolist()
        ids = self.ids_N[start : start + source + target].tolist()
        return TokenizedPair(tuple(ids[:source]), tuple(ids[source:]))


def count_pair_tokens(pairs: Sequence[TokenizedPair]) -> NDArray[np.int32]:
    """Return the number of tokens of every source and target, [R, 2]."""
    if isinstance(pairs, TokenizedPairs):
        return pairs.sizes_R2
    sizes = [(len(pair.source_ids), len(pair.target_ids)) for pair in pairs]
    return np.array(sizes, dtype=np.int32).reshape(-1, 2)
