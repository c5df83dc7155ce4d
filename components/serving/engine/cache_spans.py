"""What attention needs to know of each branch, and the masks of its columns.

Knows tensors and spans of tokens; does not know how attention is computed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.model.base.attention_scores import ScoreRule
from components.model.base.token_spans import ALL_TOKENS, SLOT, TokenSpan

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CacheSpan:
    """One branch: its blocks, and how many cached columns and new tokens it has."""

    blocks: Sequence[int]
    """Other branches may have the same first ones."""
    cached_columns: int
    """Columns before the new tokens."""
    new_tokens: int
    slot_columns: tuple[int, int] = (0, 0)
    """First column of its slots, and the column after the last one; equal if it has none."""


class AttentionBackend(Protocol):
    """The attention of some branches, whose new tokens follow each other."""

    def attend(self, query_NXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan = ALL_TOKENS) -> Tensor:
        """Return the attention output [N, X, D] of each new token.

        It sees its branch's slots, and of the columns up to its own those in its span.
        """


def find_token_indices(query_column: Tensor, column: Tensor, slot_columns: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the token indices of queries and keys by their columns, which broadcast; slots do not count as tokens."""
    start, end = slot_columns
    query = query_column - torch.where(query_column >= end, end - start, 0)
    key = column - torch.where(column >= end, end - start, 0)
    return query, key.masked_fill((column >= start) & (column < end), SLOT)


def make_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask to add to scores; it is finite, so that a softmax over hidden columns alone is not NaN."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, torch.finfo(dtype).min)


class BlockSelection(NamedTuple):
    """Blocks that are computed together."""

    blocks: slice | Tensor
    """A range without a copy, which may have others too, or indices."""
    place: Indices
    """Of each block, in the selection."""
    size: int
    """Number of selected blocks."""


def select_blocks(blocks: Indices, device: torch.device) -> BlockSelection:
    """Select a range if computing its gaps costs less than copying the blocks."""
    end = int(blocks.max()) + 1
    if end <= 2 * len(blocks):
        return BlockSelection(slice(0, end), blocks, end)
    return BlockSelection(torch.from_numpy(blocks).to(device), np.arange(len(blocks)), len(blocks))


class NumberedBlocks(NamedTuple):
    """The blocks of some branches, one branch after the other; [R, M] has a row for each, as long as the longest."""

    blocks: Indices
    branch: Indices
    """Of each block."""
    number: Indices
    """Of each block within its branch."""
    first_R: Indices
    """The index of each branch's first block."""
    longest: int
    """Number of blocks of the longest branch."""

    def tabulate(self, values: Indices) -> Indices:
        """Return the values of each branch's blocks as [R, M], filled up with that of its first block."""
        value_RM = np.repeat(values[self.first_R, None], self.longest, axis=1)
        value_RM[self.branch, self.number] = values
        return value_RM


def number_blocks(spans: Sequence[CacheSpan]) -> NumberedBlocks:
    """Number the blocks of each branch."""
    count_R = np.array([len(span.blocks) for span in spans])
    first_R = count_R.cumsum() - count_R
    branch = np.repeat(np.arange(len(spans)), count_R)
    blocks = np.fromiter(chain.from_iterable(span.blocks for span in spans), np.int64)
    return NumberedBlocks(blocks, branch, np.arange(len(branch)) - first_R[branch], first_R, int(count_R.max()))
