"""The layout of packed rows: concatenated to one row without padding, with the indices that attention needs.

Only attention needs a padded batch. The layout holds the indices that make it, with each row's prefix in front, and the
indices that bring its output back. Knows lengths and indices; does not know models.

Shapes: B rows, N tokens of all rows, T tokens of the longest row, P slots of the longest prefix, S = P + T, U prefixes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from components.model.base.token_spans import ALL_TOKENS, SLOT, TokenSpan


@dataclass(frozen=True)
class PackedLayout:
    """Indices of B packed rows. The table of keys is the slots of U prefixes, then N tokens, then one row of zeros."""

    position_N: Tensor
    """Position ids. A row's first token has the length of its prefix; after an infix, positions continue from its last
    slot."""
    owner_B: Tensor
    """The prefix of each row, by its number in U."""
    query_BT: Tensor
    """Index of the token at each column of the padded rows; N for padding."""
    key_BS: Tensor
    """Index into the table of keys at each column; the row of zeros for padding."""
    hidden_BTS: Tensor
    """True where a query must not see a key."""
    padded_query_N: Tensor
    """Index of each token in the padded queries, flattened from B x T."""
    padded_key_N: Tensor
    """Index of each token in the padded keys, flattened from B x S."""
    padded_slot_Q: Tensor
    """Index of each of the Q slots in the prefixes padded on the left, flattened from U x P."""
    longest_prefix: int
    prefix_count: int
    query_index_BT: Tensor
    """Token index, within its row, of the query at each column."""
    key_index_S: Tensor
    """Token index of the key at each column; `SLOT` for slots."""
    head_indices: dict[tuple[int, int], Any] = field(default_factory=dict, init=False, repr=False)
    """Cache of `components.model.packing.heads.HeadIndices`, by numbers of key/value heads and query heads."""
    hidden_by_span: dict[TokenSpan, Tensor] = field(default_factory=dict, init=False, repr=False)
    """Cache of `hide_beyond`."""
    copies: dict[torch.device, "PackedLayout"] = field(default_factory=dict, init=False, repr=False)
    """Cache of `to`."""

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
        """Lay out rows of `lengths` tokens; `owners` is the number of each row's prefix in `prefix_lengths`.

        With `starts` the slots are infixes: each row's slots are before its token `starts[row]`, and only that token
        and later ones see them.
        """
        length_B, owner_B = torch.tensor(lengths), torch.tensor(owners)
        prefix_U = torch.tensor(prefix_lengths, dtype=torch.long)
        prefix_B, total = prefix_U[owner_B], int(length_B.sum())
        longest, slots = int(length_B.max()), int(prefix_U.max()) if len(prefix_U) else 0
        first_B, first_U = length_B.cumsum(0) - length_B, prefix_U.cumsum(0) - prefix_U
        column_T, column_P = torch.arange(longest), torch.arange(slots)
        real_BT = column_T < length_B[:, None]
        query_BT = torch.where(real_BT, first_B[:, None] + column_T, total)
        own_BP = column_P >= slots - prefix_B[:, None]
        count = int(prefix_U.sum())
        key_BP = torch.where(own_BP, first_U[owner_B][:, None] + column_P - (slots - prefix_B[:, None]), count + total)
        sees_slots_BT = torch.ones_like(real_BT) if starts is None else column_T >= torch.tensor(starts)[:, None]
        causal_BTT = (column_T[:, None] >= column_T) & real_BT[:, None, :]
        seen_BTS = torch.cat([own_BP[:, None, :] & sees_slots_BT[:, :, None], causal_BTT], dim=2)
        row_N, at_N = real_BT.nonzero(as_tuple=True)
        return cls(
            position_N=(column_T + sees_slots_BT * prefix_B[:, None])[real_BT].to(device),
            owner_B=owner_B.to(device),
            query_BT=query_BT.to(device),
            key_BS=torch.cat([key_BP, count + query_BT], dim=1).to(device),
            hidden_BTS=~seen_BTS.to(device),
            padded_query_N=(row_N * longest + at_N).to(device),
            padded_key_N=(row_N * (slots + longest) + slots + at_N).to(device),
            padded_slot_Q=(column_P >= slots - prefix_U[:, None]).flatten().nonzero()[:, 0].to(device),
            longest_prefix=slots,
            prefix_count=len(prefix_U),
            query_index_BT=column_T.expand(len(lengths), -1).to(device),
            key_index_S=torch.cat([torch.full_like(column_P, SLOT), column_T]).to(device),
        )

    def drop_queries_before(self, starts: Sequence[int]) -> "PackedLayout":
        """Return a layout with only the queries from token `starts[row]` of each row on; the keys stay."""
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
            padded_query_N=row_N * len(column_T) + at_N,
            query_index_BT=from_BT1[:, :, 0],
        )

    def hide_beyond(self, span: TokenSpan) -> Tensor:
        """Return `hidden_BTS` for a layer of which a token sees only its span."""
        if span == ALL_TOKENS:
            return self.hidden_BTS
        if span not in self.hidden_by_span:
            near_BTS = span.is_near(self.query_index_BT[:, :, None], self.key_index_S)
            self.hidden_by_span[span] = self.hidden_BTS | ~near_BTS
        return self.hidden_by_span[span]

    def to(self, device: torch.device) -> "PackedLayout":
        """Return the layout on `device`; a copy is made once and kept."""
        if device == self.query_BT.device:
            return self
        if device not in self.copies:
            moved = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
            moved = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in moved.items()}
            self.copies[device] = PackedLayout(**moved)
        return self.copies[device]

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, T, S."""
        rows, queries, keys = self.hidden_BTS.shape
        return rows, queries, keys
