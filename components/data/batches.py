"""Batches of encoded pairs, and their order within an epoch. Knows no text and no model.

Shapes: B batch rows, T tokens.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.data.pairs import TokenizedPair

if TYPE_CHECKING:
    import torch

IGNORED_LABEL = -100
"""The label of a position without loss; torch's cross-entropy ignores it by default."""

_POOL_BATCHES = 50


@dataclass(frozen=True)
class PaddedBatch:
    """Right-padded rows, all int64.

    Decoder-only: a row is `source <eos> target <eos>`. The labels are the same ids, not shifted (the loss shifts them);
    source, padding and target ids that do not count have IGNORED_LABEL. Encoder-decoder: a row is a source, and its
    labels are the target.
    """

    input_ids_BT: "torch.Tensor"
    attention_mask_BT: "torch.Tensor"
    labels_BT: "torch.Tensor"
    starts_B: "torch.Tensor"
    """Column of the last source token of each row; an infix is placed before it."""


def collate(encoded: Sequence[TokenizedPair], pad_id: int, *, encoder_decoder: bool = False) -> PaddedBatch:
    """Return one batch of at least one pair, padded on the right to the longest row."""
    import torch

    sources = [pair.source_ids for pair in encoded]
    starts_B = torch.tensor([len(source) - 1 for source in sources])
    if encoder_decoder:
        ids_BT, mask_BT = _pad_rows(sources, pad_id)
        return PaddedBatch(
            ids_BT, mask_BT, _pad_rows([pair.target_ids for pair in encoded], IGNORED_LABEL)[0], starts_B
        )
    ids_BT, mask_BT = _pad_rows([pair.source_ids + pair.target_ids for pair in encoded], pad_id)
    labels_BT = ids_BT.masked_fill(mask_BT == 0, IGNORED_LABEL)
    labels_BT[torch.arange(labels_BT.shape[1]) <= starts_B[:, None]] = IGNORED_LABEL
    for row, pair in enumerate(encoded):
        if pair.target_mask is not None:
            ignored = len(pair.source_ids) + torch.tensor(pair.target_mask).logical_not().nonzero()[:, 0]
            labels_BT[row, ignored] = IGNORED_LABEL
    return PaddedBatch(ids_BT, mask_BT, labels_BT, starts_B)


def _pad_rows(rows: Sequence[Sequence[int]], filler: int) -> "tuple[torch.Tensor, torch.Tensor]":
    import torch

    shape = (len(rows), max(map(len, rows)))
    ids_BT = torch.full(shape, filler, dtype=torch.long)
    mask_BT = torch.zeros(shape, dtype=torch.long)
    for row, ids in enumerate(rows):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
        mask_BT[row, : len(ids)] = 1
    return ids_BT, mask_BT


def order_epoch(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Divide the indices of `lengths` into batches, each index once; the last batch may be smaller.

    Indices are shuffled, then sorted by length within pools of batches, so that the rows of a batch have similar
    lengths; then the batches are shuffled. The same arguments always give the same order.
    """
    shuffler = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, no secret
    indices = list(range(len(lengths)))
    shuffler.shuffle(indices)
    pool = batch_size * _POOL_BATCHES
    for start in range(0, len(indices), pool):
        indices[start : start + pool] = sorted(indices[start : start + pool], key=lambda index: lengths[index])
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    shuffler.shuffle(batches)
    return batches


def group_by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Divide the indices of `lengths` into groups of similar lengths with at most `budget` tokens each.

    An index with more tokens than `budget` gets a group of its own. The longest come first, so that a lack of memory
    shows at once.
    """
    groups: list[list[int]] = []
    left = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if lengths[index] > left:
            groups.append([])
            left = max(budget, lengths[index])
        groups[-1].append(index)
        left -= lengths[index]
    return groups
