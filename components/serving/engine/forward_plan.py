"""What one forward pass reads, where its keys and values are written, and which backends compute its attention.

Most passes read one more token of each branch of the last pass, in the next column of the same blocks. The plan of few
branches is then made from the last plan: building it anew takes a twentieth of a small model's step. Knows spans of
tokens and their ids; does not know cache indices or models.

Shapes: B blocks, H key/value heads, S columns of a block, D head size, N tokens of a forward pass, F = N x H.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.serving.engine.block_attention import GatheredBackend, order_for_attention, plan_attention
from components.serving.engine.block_pool import BLOCK_COLUMNS
from components.serving.engine.cache_spans import AttentionBackend, CacheSpan


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """The tokens of all branches as one row, in an order in which those that are computed together are neighbours."""

    spans: Sequence[CacheSpan]
    """Of the branches, as the caller has them."""
    last_tokens: Sequence[int]
    """Index of each span's last token, of N."""
    id_1N: Tensor
    column_1N: Tensor
    """Each token's column in its branch, which is its position."""
    write_index_F: Tensor
    """Where the keys and values of the tokens are written, as indices into [B x H x S]."""
    backends: Sequence[tuple[int, int, AttentionBackend]]
    """First token, end, and the backend of these tokens."""

    @classmethod
    def build(
        cls, spans: Sequence[CacheSpan], token_ids: Sequence[Sequence[int]], layer_2BHSD: Tensor
    ) -> "ForwardPlan":
        """Plan a pass over these new tokens of each span; of the layer only shape, dtype and device are used."""
        ids, columns, blocks, last_tokens = list[int](), list[int](), list[int](), [0] * len(spans)
        order = order_for_attention(spans)
        for number in order:
            span, column = spans[number], spans[number].cached_columns
            if span.new_tokens == 1:
                columns.append(column)
                blocks.append(span.blocks[column // BLOCK_COLUMNS])
            else:
                new_columns = range(column, column + span.new_tokens)
                columns += new_columns
                blocks += [span.blocks[each // BLOCK_COLUMNS] for each in new_columns]
            ids += token_ids[number]
            last_tokens[number] = len(ids) - 1
        device, heads = layer_2BHSD.device, layer_2BHSD.shape[2]
        numbers_3N = np.array([ids, columns, blocks])
        write_index_N1 = (numbers_3N[2] * heads * BLOCK_COLUMNS + numbers_3N[1] % BLOCK_COLUMNS)[:, None]
        write_index_F = (write_index_N1 + BLOCK_COLUMNS * np.arange(heads)).ravel()
        id_and_column_2N = torch.from_numpy(numbers_3N[:2]).to(device)
        return cls(
            spans=spans,
            last_tokens=last_tokens,
            id_1N=id_and_column_2N[:1],
            column_1N=id_and_column_2N[1:],
            write_index_F=torch.from_numpy(write_index_F).to(device),
            backends=plan_attention([spans[number] for number in order], layer_2BHSD),
        )

    def advance(self, spans: Sequence[CacheSpan], token_ids: Sequence[Sequence[int]]) -> "ForwardPlan | None":
        """Return the plan for these spans; None: they are not this plan's one column on, or too many."""
        (start, end, backend), *others = self.backends
        if others or not isinstance(backend, GatheredBackend) or len(spans) != len(self.spans):
            return None
        if not all(map(_is_next, self.spans, spans)):
            return None
        ids = np.array([[token for (token,) in token_ids]])
        return ForwardPlan(
            spans=spans,
            last_tokens=self.last_tokens,
            id_1N=torch.from_numpy(ids).to(self.id_1N.device),
            column_1N=self.column_1N + 1,
            write_index_F=self.write_index_F + 1,
            backends=[(start, end, backend.advance(spans))],
        )


def _is_next(before: CacheSpan, after: CacheSpan) -> bool:
    return (
        before.new_tokens == after.new_tokens == 1
        and after.cached_columns == before.cached_columns + 1
        and after.blocks == before.blocks
        and after.slot_columns == before.slot_columns
    )
