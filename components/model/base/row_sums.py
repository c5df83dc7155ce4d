"""Sums of rows by their owner, in an order that is the same in every run, so that results are the same bit by bit.

Knows tensors only.
"""

from torch import Tensor


def add_rows(sums: Tensor, owner_N: Tensor, rows: Tensor) -> Tensor:
    """Add each row [N, ...] to the sum of its owner [U, ...], in place; return `sums`.

    A row that is not finite affects its owner's sum only. On a GPU `index_add_` adds in any order and `index_put_`
    sorts first; on a CPU it is `index_add_` that keeps the order.
    """
    if rows.device.type == "cpu":
        return sums.index_add_(0, owner_N, rows)
    return sums.index_put_((owner_N,), rows, accumulate=True)
