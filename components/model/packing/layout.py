"""Where every token of packed rows stands: rows end to end, as one row without padding, and back.

Attention alone needs rows side by side. The layout holds the indices that lay them so, each behind its own prefix, and
that bring its output back. Knows lengths and numbers; does not know models.

Shapes: B rows, N tokens of all rows, T tokens of the longest row, P slots of the longest prefix, S = P + T, U prefixes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedLayout:
    """The places of B rows' tokens. A table of keys is the U prefixes' slots, then N tokens, then one row of zeros."""

    position_N: Tensor
    """A row's first token stands at the length of its prefix; behind an infix positions go on from its last slot."""
    owner_B: Tensor
    """Which of the U prefixes a row has."""
    query_BT: Tensor
    """Token of each place of the rows side by side; N where there is none."""
    slot_BS: Tensor
    """Row of the table of keys at each place; the last one where there is none."""
    hidden_BTS: Tensor
    """Which keys a query does not see, bool."""
    place_N: Tensor
    """Where in B x T each token went."""
    key_place_N: Tensor
    """Where in B x S each token went."""
    owned_Q: Tensor
    """Where in U x P each slot of the prefixes stands, prefixes on the right; Q slots in all."""
    longest_prefix: int
    prefix_count: int
    head_indices: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False)
    """Cache of `components.model.packing.head_indices`: its indices for this layout, by numbers of heads."""

    @classmethod
    def from_lengths(
        cls,
        lengths: Sequence[int],
        owners: Sequence[int],
        prefix_lengths: Sequence[int],
        *,
        starts: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> "PackedLayout":
        """Rows of `lengths` tokens, each behind the prefix that `owners` names.

        With `starts` the slots are infixes: they stand before each row's token of that number and only it and later
        ones see them.
        """
        length_B, owner_B = torch.tensor(lengths), torch.tensor(owners)
        prefix_U = torch.tensor(prefix_lengths, dtype=torch.long)
        taken_B, total = prefix_U[owner_B], int(length_B.sum())
        longest, slots = int(length_B.max()), int(prefix_U.max()) if len(prefix_U) else 0
        first_B, first_U = length_B.cumsum(0) - length_B, prefix_U.cumsum(0) - prefix_U
        column_T, column_P = torch.arange(longest), torch.arange(slots)
        real_BT = column_T < length_B[:, None]
        query_BT = torch.where(real_BT, first_B[:, None] + column_T, total)
        own_BP = column_P >= slots - taken_B[:, None]
        count = int(prefix_U.sum())
        slot_BP = torch.where(own_BP, first_U[owner_B][:, None] + column_P - (slots - taken_B[:, None]), count + total)
        behind_BT = torch.ones_like(real_BT) if starts is None else column_T >= torch.tensor(starts)[:, None]
        causal_BTT = (column_T[:, None] >= column_T) & real_BT[:, None, :]
        seen_BTS = torch.cat([own_BP[:, None, :] & behind_BT[:, :, None], causal_BTT], dim=2)
        row_N, at_N = real_BT.nonzero(as_tuple=True)
        return cls(
            position_N=(column_T + behind_BT * taken_B[:, None])[real_BT].to(device),
            owner_B=owner_B.to(device),
            query_BT=query_BT.to(device),
            slot_BS=torch.cat([slot_BP, count + query_BT], dim=1).to(device),
            hidden_BTS=~seen_BTS.to(device),
            place_N=(row_N * longest + at_N).to(device),
            key_place_N=(row_N * (slots + longest) + slots + at_N).to(device),
            owned_Q=(column_P >= slots - prefix_U[:, None]).flatten().nonzero()[:, 0].to(device),
            longest_prefix=slots,
            prefix_count=len(prefix_U),
        )

    def drop_queries_before(self, starts: Sequence[int]) -> "PackedLayout":
        """Queries from each row's token of that number on alone, which are then the N; keys as they are."""
        start_B = torch.tensor(starts, device=self.owner_B.device)
        count_B = (self.query_BT < len(self.position_N)).sum(dim=1) - start_B
        column_T = torch.arange(int(count_B.max()), device=start_B.device)
        real_BT = column_T < count_B[:, None]
        first_B = count_B.cumsum(0) - count_B
        from_BT1 = (start_B[:, None] + column_T).clamp(max=self.hidden_BTS.shape[1] - 1)[:, :, None]
        row_N, at_N = real_BT.nonzero(as_tuple=True)
        return replace(
            self,
            query_BT=torch.where(real_BT, first_B[:, None] + column_T, int(count_B.sum())),
            hidden_BTS=self.hidden_BTS.gather(1, from_BT1.expand(-1, -1, self.hidden_BTS.shape[2])),
            place_N=row_N * len(column_T) + at_N,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, T, S."""
        rows, queries, keys = self.hidden_BTS.shape
        return rows, queries, keys
