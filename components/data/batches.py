"""Batches of encoded pairs, and the order in which an epoch meets them. Knows no text and no model.

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
"""The label of a position without loss, as torch's cross-entropy has it."""

_POOL_BATCHES = 50


@dataclass(frozen=True)
class PaddedBatch:
    """Right-padded rows, all int64.

    Decoder-only: rows of `source <eos> target <eos>`; labels stand at the position of their own token (the objective
    shifts them), source and padding have IGNORED. Encoder-decoder: rows of sources, and labels that hold the targets.
    """

    input_ids_BT: "torch.Tensor"
    attention_mask_BT: "torch.Tensor"
    labels_BT: "torch.Tensor"
    starts_B: "torch.Tensor"
    """Column of the token that ends each row's source: what stands between source and target stands before it."""


def collate(encoded: Sequence[TokenizedPair], pad_id: int, *, encoder_decoder: bool = False) -> PaddedBatch:
    """Put at least one pair into one batch, padded on the right to its longest row."""
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

    Indices are shuffled, then sorted by length within pools of batches, so that rows of one batch are about equally
    long; the batches are shuffled again. The same arguments always give the same order.
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
    """Divide the indices of `lengths` into groups of like lengths, at most `budget` tokens each; a longer one is alone.

    The longest come first, so that what does not fit into memory shows at once.
    """
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if lengths[index] > room:
            groups.append([])
            room = max(budget, lengths[index])
        groups[-1].append(index)
        room -= lengths[index]
    return groups
