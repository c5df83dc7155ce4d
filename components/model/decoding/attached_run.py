"""A batch of a decoder-only model under attached prefixes, each beam with a cache of its own; a `DecodingRun`.

For the models whose rows `DecoderOnlyRun` cannot compute in its shared cache: those with recurrent states, or with
caches that do not hold keys and values as attention gets them. Any model that prefixes can be attached to works. No row
can join a batch that has started. Rows with initial states are prefilled in as many parts as they have lengths: a row's
state goes into the cache at its first token, as padding before it would change the state. Knows models; does not know
how the next token is chosen.

Shapes: B rows of a batch, K beams, R = B x K, T source tokens, S columns, V vocabulary.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from components.model.base.load import Base
from components.model.base.state_cache import overwrite_states, put_states
from components.model.prefix.attach import Attachment, compute_positions


class AttachedRun:
    """The rows of one batch. The caller attaches their prefixes, with infixes before the last column."""

    def __init__(self, base: Base, attachment: Attachment | None, sources: Sequence[Sequence[int]], beams: int) -> None:
        """Prefill every row once, padded on the left."""
        self.model, self.attachment, self.beams = base.model, attachment, beams
        longest, device = max(map(len, sources)), base.device
        ids_BT = torch.tensor([[base.pad_id] * (longest - len(ids)) + [*ids] for ids in sources], device=device)
        padding_B1 = torch.tensor([[longest - len(ids)] for ids in sources], device=device)
        self.mask_RS = (torch.arange(longest, device=device) >= padding_B1).long()
        zeros_B = torch.zeros(len(sources), dtype=torch.long, device=device)
        position_BT = compute_positions(self.mask_RS, zeros_B)
        if attachment is not None and not attachment.is_suspended:
            length_B1 = attachment.prefix_batch.lengths_B[:, None]
            after_infix_T = torch.arange(longest, device=device) >= longest - 1
            position_BT = position_BT + length_B1 * (after_infix_T if attachment.prefix_batch.is_infix else 1)
        self.cache = DynamicCache(config=self.model.config)
        is_attached = attachment is not None and not attachment.is_suspended
        states = attachment.take_states() if attachment is not None and is_attached else {}
        starts = sorted({longest - len(ids) for ids in sources}) if states else [0]
        put_states(self.cache, states)
        for start, end in pairwise([*starts, longest]):
            if start:
                overwrite_states(self.cache, states, (padding_B1[:, 0] == start).nonzero()[:, 0])
            part = slice(start, end)
            self.logits_BV = self._forward(ids_BT[:, part], position_BT[:, part], self.mask_RS[:, :end])
        index_R = torch.arange(len(sources), device=device).repeat_interleave(beams)
        self.position_R1 = position_BT[:, -1:]
        self._select(index_R)

    def step(self, token_BK: Tensor) -> Tensor:
        """See `DecodingRun.step`."""
        self.mask_RS, self.position_R1 = pad(self.mask_RS, (0, 1), value=1), self.position_R1 + 1
        return self._forward(token_BK.flatten()[:, None], self.position_R1, self.mask_RS)

    def keep(self, kept_B: Tensor) -> None:
        """See `DecodingRun.keep`."""
        self._select((kept_B[:, None] * self.beams + torch.arange(self.beams, device=kept_B.device)).flatten())
        if self.attachment is not None and not self.attachment.is_suspended:
            self.attachment.keep(kept_B)

    def reorder(self, parent_BK: Tensor) -> None:
        """See `DecodingRun.reorder`."""
        first_B1 = torch.arange(len(parent_BK), device=parent_BK.device)[:, None] * self.beams
        self._select((first_B1 + parent_BK).flatten())

    def _select(self, index_R: Tensor) -> None:
        self.mask_RS, self.position_R1 = self.mask_RS[index_R], self.position_R1[index_R]
        self.cache.reorder_cache(index_R)  # any number of rows; recurrent states have no other method for it

    def _forward(self, ids_RT: Tensor, position_RT: Tensor, mask_RS: Tensor) -> Tensor:
        output: Any = self.model(
            input_ids=ids_RT,
            attention_mask=mask_RS,
            position_ids=position_RT,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_RV: Tensor = output.logits[:, -1]
        return logits_RV
