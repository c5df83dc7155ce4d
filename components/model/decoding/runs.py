"""Batches on their way: what the model remembers of each row, and the logits of the next token.

Three kinds with the same four doors (`logits_BV`, `step`, `keep`, `reorder`): decoder-only models under prefilled
caches, encoder-decoder models under attached prefixes, and a pair of runs whose logits are mixed (guidance). Knows
models; does not know how a next token is chosen.

Shapes: B rows of a batch (x beams after the prefill), T source tokens, P slots, S slots seen so far, V vocabulary.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from components.model.attach import Attachment, positions
from components.model.base import Base
from components.model.cache import cache_of
from components.model.controls import guided
from components.model.decoding.slots import Slots
from components.model.prefix import Prefix
from components.model.rows import stack_rows

_IMPOSSIBLE = -1.0e9  # finite, so that it can be mixed


class Run(Protocol):
    """Rows that are being decoded; after the prefill each of them stands `beams` times in place."""

    logits_BV: Tensor
    """Of the first new token, one row each."""

    def step(self, token_B: Tensor) -> Tensor:
        """Append one token to every row; returns the logits [B, V] of the next."""

    def keep(self, row_R: Tensor, index_B: Tensor) -> None:
        """Go on with these rows alone; `index_B` names them with all their beams."""

    def reorder(self, index_B: Tensor) -> None:
        """Go on with these beams; every beam stays within its row."""


class DecoderRun:
    """A decoder-only model: prefix or infix, source and new tokens in one cache."""

    def __init__(
        self, base: Base, prefixes: Sequence[Prefix | None], sources: Sequence[Sequence[int]], beams: int
    ) -> None:
        """Prefill every row once, padded on the left."""
        self.model = base.model
        longest = max(map(len, sources))
        ids_BT = torch.tensor([[base.pad_id] * (longest - len(ids)) + [*ids] for ids in sources], device=base.device)
        padding_B1 = torch.tensor([[longest - len(ids)] for ids in sources], device=base.device)
        mask_BT = (torch.arange(longest, device=base.device) >= padding_B1).long()
        block = stack_rows(prefixes, base.device, base.model.dtype)
        position_BT = positions(mask_BT, block.lengths_B)
        if block.is_infix:
            self.mask_BS = mask_BT[:, :-1]
            self.cache: Any = DynamicCache()
            if longest > 1:
                self._forward(ids_BT[:, :-1], position_BT[:, :-1] - block.lengths_B[:, None])
                for layer, (key_BHPD, value_BHPD) in zip(self.cache.layers, block.layers, strict=True):
                    layer.keys = torch.cat([layer.keys, key_BHPD], dim=2)
                    layer.values = torch.cat([layer.values, value_BHPD], dim=2)
            else:
                self.cache = cache_of(block)
            self.mask_BS = torch.cat([self.mask_BS, block.mask_BP.long(), mask_BT[:, -1:]], dim=1)
            self.logits_BV = self._forward(ids_BT[:, -1:], position_BT[:, -1:])
        else:
            self.cache = cache_of(block)
            self.mask_BS = torch.cat([block.mask_BP.long(), mask_BT], dim=1)
            self.logits_BV = self._forward(ids_BT, position_BT)
        self.position_B1 = position_BT[:, -1:].repeat_interleave(beams, dim=0)
        self.mask_BS = self.mask_BS.repeat_interleave(beams, dim=0)
        self.cache.layers = [Slots(layer, beams) for layer in self.cache.layers]

    def step(self, token_B: Tensor) -> Tensor:
        """See `Run.step`."""
        self.position_B1 = self.position_B1 + 1
        self.mask_BS = torch.cat([self.mask_BS, self.mask_BS.new_ones(len(token_B), 1)], dim=1)
        return self._forward(token_B[:, None], self.position_B1)

    def keep(self, row_R: Tensor, index_B: Tensor) -> None:  # noqa: ARG002 - rows and beams are one here
        """See `Run.keep`."""
        self.position_B1 = self.position_B1[index_B]
        self.mask_BS = self.mask_BS[index_B]
        self.cache.batch_select_indices(index_B)

    def reorder(self, index_B: Tensor) -> None:
        """See `Run.reorder`."""
        self.cache.reorder_cache(index_B)

    def _forward(self, ids_BT: Tensor, position_BT: Tensor) -> Tensor:
        output: Any = self.model(
            input_ids=ids_BT,
            attention_mask=self.mask_BS,
            position_ids=position_BT,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_BV: Tensor = output.logits[:, -1].float()
        return logits_BV


class PairRun:
    """An encoder-decoder model; the rows' prefixes are attached to it by whoever runs this."""

    def __init__(self, base: Base, attachment: Attachment | None, sources: Sequence[Sequence[int]], beams: int) -> None:
        """Read every source once, padded on the right, and start every row's target."""
        self.model, self.attachment = base.model, attachment
        longest = max(map(len, sources))
        ids_BT = torch.tensor([[*ids] + [base.pad_id] * (longest - len(ids)) for ids in sources], device=base.device)
        lengths_B1 = torch.tensor([[len(ids)] for ids in sources], device=base.device)
        self.mask_BT = (torch.arange(longest, device=base.device) < lengths_B1).long()
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.encoded = self.model.get_encoder()(input_ids=ids_BT, attention_mask=self.mask_BT)
        self.logits_BV = self._forward(torch.full((len(sources), 1), base.decoder_start_id, device=base.device))
        forced = self.model.generation_config.forced_bos_token_id
        if forced is not None:
            kept_V = torch.arange(self.logits_BV.shape[1], device=base.device) == forced
            self.logits_BV = self.logits_BV.masked_fill(~kept_V, _IMPOSSIBLE)
        self.mask_BT = self.mask_BT.repeat_interleave(beams, dim=0)
        self.encoded["last_hidden_state"] = self.encoded["last_hidden_state"].repeat_interleave(beams, dim=0)
        own, cross = self.cache.self_attention_cache, self.cache.cross_attention_cache
        own.layers = [Slots(layer, beams) for layer in own.layers]
        cross.batch_repeat_interleave(beams)

    def step(self, token_B: Tensor) -> Tensor:
        """See `Run.step`."""
        return self._forward(token_B[:, None])

    def keep(self, row_R: Tensor, index_B: Tensor) -> None:
        """See `Run.keep`."""
        self.mask_BT = self.mask_BT[index_B]
        self.encoded["last_hidden_state"] = self.encoded["last_hidden_state"][index_B]
        self.cache.self_attention_cache.batch_select_indices(index_B)
        self.cache.cross_attention_cache.batch_select_indices(index_B)
        if self.attachment is not None:
            self.attachment.keep(row_R)

    def reorder(self, index_B: Tensor) -> None:
        """See `Run.reorder`; what comes of the source is the same in all beams of a row."""
        self.cache.self_attention_cache.reorder_cache(index_B)

    def _forward(self, ids_BT: Tensor) -> Tensor:
        output: Any = self.model(
            encoder_outputs=self.encoded,
            attention_mask=self.mask_BT,
            decoder_input_ids=ids_BT,
            past_key_values=self.cache,
            use_cache=True,
        )
        logits_BV: Tensor = output.logits[:, -1].float()
        return logits_BV


class GuidedRun:
    """Two runs over the same new tokens, with and without the tenant's delta, whose logits are mixed."""

    def __init__(
        self, run: Run, bare: Callable[[], Run], guidance: float, suspended: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        """Start the second run, of the bare base; `suspended` lets the model compute as that."""
        self.run, self.guidance, self.suspended = run, guidance, suspended
        with suspended():
            self.bare = bare()
        self.logits_BV = self._mixed(run.logits_BV, self.bare.logits_BV)

    def step(self, token_B: Tensor) -> Tensor:
        """See `Run.step`."""
        with_BV = self.run.step(token_B)
        with self.suspended():
            return self._mixed(with_BV, self.bare.step(token_B))

    def keep(self, row_R: Tensor, index_B: Tensor) -> None:
        """See `Run.keep`."""
        self.run.keep(row_R, index_B)
        self.bare.keep(row_R, index_B)

    def reorder(self, index_B: Tensor) -> None:
        """See `Run.reorder`."""
        self.run.reorder(index_B)
        self.bare.reorder(index_B)

    def _mixed(self, with_BV: Tensor, bare_BV: Tensor) -> Tensor:
        return guided(with_BV, bare_BV, torch.full((len(with_BV), 1), self.guidance, device=with_BV.device))
