"""Encoded training pairs: token ids of source and target, as arrays or as tuples. Knows no tokenizer and no file.

A conversation is a pair too: its target begins at the first token that counts in the loss, and may hold tokens of later
messages, which do not count.

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
    target_mask: tuple[bool, ...] | None = None
    """For each target id, whether it counts in the loss; None: all do."""

    @property
    def length(self) -> int:
        """Number of tokens of source and target together."""
        return len(self.source_ids) + len(self.target_ids)

    @property
    def loss_tokens(self) -> int:
        """Number of target tokens that count in the loss."""
        return len(self.target_ids) if self.target_mask is None else sum(self.target_mask)


class TokenizedPairs(Sequence[TokenizedPair]):
    """Encoded pairs as arrays, in memory or in a mapped file; a pair object is made only when it is indexed."""

    def __init__(
        self,
        ids_N: NDArray[np.int32],
        sizes_R2: NDArray[np.int32],
        starts_R: NDArray[np.int64],
        mask_N: NDArray[np.bool_] | None = None,
    ) -> None:
        """Pair r's source, directly followed by its target, begins in `ids_N` at `starts_R[r]`.

        `mask_N`: which ids count in the loss; None: those of all targets.
        """
        self.ids_N, self.sizes_R2, self._starts_R, self.mask_N = ids_N, sizes_R2, starts_R, mask_N

    @classmethod
    def from_contiguous(
        cls, ids_N: NDArray[np.int32], sizes_R2: NDArray[np.int32], mask_N: NDArray[np.bool_] | None = None
    ) -> "TokenizedPairs":
        """Return pairs that follow one another in `ids_N` without gaps."""
        lengths_R = sizes_R2.sum(axis=1, dtype=np.int64)
        return cls(ids_N, sizes_R2, lengths_R.cumsum() - lengths_R, mask_N)

    def __len__(self) -> int:
        return len(self.sizes_R2)

    @overload
    def __getitem__(self, index: int) -> TokenizedPair: ...

    @overload
    def __getitem__(self, index: slice) -> "TokenizedPairs": ...

    def __getitem__(self, index: int | slice) -> "TokenizedPair | TokenizedPairs":
        if isinstance(index, slice):
            return TokenizedPairs(self.ids_N, self.sizes_R2[index], self._starts_R[index], self.mask_N)
        start, (source, target) = int(self._starts_R[index]), self.sizes_R2[index].tolist()
        ids = self.ids_N[start : start + source + target].tolist()
        mask = None if self.mask_N is None else self.mask_N[start + source : start + source + target].tolist()
        return TokenizedPair(tuple(ids[:source]), tuple(ids[source:]), None if mask is None else tuple(mask))


def count_pair_tokens(pairs: Sequence[TokenizedPair]) -> NDArray[np.int32]:
    """Return the number of tokens of every source and target, [R, 2]."""
    if isinstance(pairs, TokenizedPairs):
        return pairs.sizes_R2
    sizes = [(len(pair.source_ids), len(pair.target_ids)) for pair in pairs]
    return np.array(sizes, dtype=np.int32).reshape(-1, 2)


def join_pairs(first: TokenizedPairs, second: TokenizedPairs) -> TokenizedPairs:
    """Return the pairs of both, which are whole and contiguous each, in this order."""
    masks = [_fill_mask(one) for one in (first, second)]
    ids_N = np.concatenate([first.ids_N, second.ids_N])
    return TokenizedPairs.from_contiguous(
        ids_N, np.concatenate([first.sizes_R2, second.sizes_R2]), np.concatenate(masks)
    )


def _fill_mask(pairs: TokenizedPairs) -> NDArray[np.bool_]:
    if pairs.mask_N is not None:
        return pairs.mask_N
    return np.tile([False, True], len(pairs)).repeat(pairs.sizes_R2.flatten())
