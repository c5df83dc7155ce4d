"""The model's side of a decoding batch: the cache of its rows, and the logits of their next tokens.

Two kinds of `DecodingRun`: one for decoder-only models with a prefilled cache, and one for guidance, which mixes the
logits of two other runs. The run of encoder-decoder models is in `seq2seq_run`. Knows models; does not know how the
next token is chosen.

Shapes: B rows of a batch, K beams, R = B x K, T source tokens, P prefix slots, S cached columns
(prefix and source), V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from components.model.base.attention_sites import has_plain_attention
from components.model.base.load import Base
from components.model.base.token_spans import SLOT
from components.model.decoding.beam_tree import BeamTree
from components.model.decoding.controls import mix_logits
from components.model.decoding.span_attention import SpanAttention
from components.model.prefix.attach import compute_positions
from components.model.prefix.batch import stack_prefixes
from components.model.prefix.prefilled_cache import make_prefilled_cache
from components.model.prefix.prefix import Prefix


class DecodingRun(Protocol):
    """The rows of one batch, each with its beams."""

    logits_BV: Tensor
    """Logits of the first new token, which all beams of a row share."""

    def step(self, token_BK: Tensor) -> Tensor:
        """Append one token to every beam. Return the logits [R, V] of the next token."""

    def keep(self, kept_B: Tensor) -> None:
        """Keep only these rows, in this order."""

    def reorder(self, parent_BK: Tensor) -> None:
        """Keep these beams of every row, in this order."""


class DecoderOnlyRun:
    """Rows of a decoder-only model: prefix or infix, source and new tokens in one cache."""

    def __init__(
        self,
        base: Base,
        prefixes: Sequence[Prefix | None],
        sources: Sequence[Sequence[int]],
        beams: int,
    ) -> None:
        """Prefill every row once, padded on the left; the beams of a row share one cache."""
        self.model = base.model
        self.attention = None if has_plain_attention(self.model) else SpanAttention(self.model)
        longest = max(map(len, sources))
        ids_BT = torch.tensor([[base.pad_id] * (longest - len(ids)) + [*ids] for ids in sources], device=base.device)
        padding_B1 = torch.tensor([[longest - len(ids)] for ids in sources], device=base.device)
        mask_BT = (torch.arange(longest, device=base.device) >= padding_B1).long()
        prefix_batch = stack_prefixes(prefixes, base.device, base.model.dtype).cut_heads(base.model)
        position_BT = compute_positions(mask_BT, prefix_batch.lengths_B)
        self.length_B1 = prefix_batch.lengths_B[:, None]
        index_BT, slot_BP = position_BT - self.length_B1, torch.full_like(prefix_batch.mask_BP.long(), SLOT)
        if prefix_batch.is_infix:
            self.mask_BS, self.index_BS = mask_BT[:, :-1], index_BT[:, :-1]
            self.cache: Any = DynamicCache()
            if longest > 1:
                self._forward(ids_BT[:, :-1], position_BT[:, :-1] - self.length_B1)
                for layer, (key_BHPD, value_BHPD) in zip(self.cache.layers, prefix_batch.decoder_layers, strict=True):
                    layer.keys = torch.cat([layer.keys, key_BHPD], dim=2)
                    layer.values = torch.cat([layer.values, value_BHPD], dim=2)
            else:
                self.cache = make_prefilled_cache(prefix_batch)
            self.mask_BS = torch.cat([self.mask_BS, prefix_batch.mask_BP.long(), mask_BT[:, -1:]], dim=1)
            self.index_BS = torch.cat([self.index_BS, slot_BP, index_BT[:, -1:]], dim=1)
            self.logits_BV = self._forward(ids_BT[:, -1:], position_BT[:, -1:])
        else:
            self.cache = make_prefilled_cache(prefix_batch)
            self.mask_BS = torch.cat([prefix_batch.mask_BP.long(), mask_BT], dim=1)
            self.index_BS = torch.cat([slot_BP, index_BT], dim=1)
            self.logits_BV = self._forward(ids_BT, position_BT)
        self.position_B1 = position_BT[:, -1:]
        self.beam_cache = BeamTree(self.cache.layers, self.mask_BS, beams)
        if self.attention is not None:
            self.beam_cache.index_BS = self.index_BS

    def step(self, token_BK: Tensor) -> Tensor:
        """See `DecodingRun.step`."""
        self.position_B1 = self.position_B1 + 1
        inputs = self.beam_cache.prepare_inputs(token_BK, self.position_B1, self.model.dtype)
        if self.attention is None:
            logits: Tensor = self.model(**inputs, past_key_values=self.beam_cache.cache, use_cache=True).logits
            return logits.flatten(0, 1)
        del inputs["attention_mask"]
        query_BK = (self.position_B1 - self.length_B1).expand_as(token_BK)
        key_BS = self.beam_cache.append_indices(query_BK)
        with self.attention.activate(self.beam_cache.mask_BKS, query_BK, key_BS):
            logits = self.model(**inputs, past_key_values=self.beam_cache.cache, use_cache=True).logits
        return logits.flatten(0, 1)

    def keep(self, kept_B: Tensor) -> None:
        """See `DecodingRun.keep`."""
        self.position_B1, self.length_B1 = self.position_B1[kept_B], self.length_B1[kept_B]
        self.beam_cache.keep(kept_B)

    def reorder(self, parent_BK: Tensor) -> None:
        """See `DecodingRun.reorder`."""
        self.beam_cache.reorder(parent_BK)

    def join(self, other: Self) -> None:
        """Append the rows of another run of this kind."""
        self.position_B1 = torch.cat([self.position_B1, other.position_B1])
        self.length_B1 = torch.cat([self.length_B1, other.length_B1])
        self.beam_cache.join(other.beam_cache)

    def _forward(self, ids_BT: Tensor, position_BT: Tensor) -> Tensor:
        """Return the logits of the last column, after the columns `mask_BS`."""
        with _make_head_input_contiguous(self.model.get_output_embeddings()), self._make_masks(ids_BT.shape[1]) as mask:
            output: Any = self.model(
                input_ids=ids_BT,
                attention_mask=mask,
                position_ids=position_BT,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV

    @contextmanager
    def _make_masks(self, new_columns: int) -> Iterator[Tensor | None]:
        """Yield the mask for the model, or None if the attention of this run masks."""
        if self.attention is None:
            yield self.mask_BS
            return
        column_S = torch.arange(self.mask_BS.shape[1], device=self.mask_BS.device)
        seen_BTS = self.mask_BS.bool()[:, None] & (column_S <= column_S[-new_columns:, None])
        with self.attention.activate(seen_BTS, self.index_BS[:, -new_columns:], self.index_BS):
            yield None


@contextmanager
def _make_head_input_contiguous(head: nn.Module) -> Iterator[None]:
    """In the `with` block, the output layer gets contiguous inputs.

    The last positions of rows of T tokens are T tokens apart in memory; torch then copies the layer's weights per row.
    """
    handle = head.register_forward_pre_hook(lambda _, inputs: tuple(one.contiguous() for one in inputs))
    try:
        yield
    finally:
        handle.remove()


class GuidedRun:
    """Two runs over the same new tokens, with and without the delta, with mixed logits."""

    def __init__(
        self,
        run: Any,
        start_base_run: Callable[[], Any],
        guidance: float,
        suspend: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """Start the second run, on the bare base: inside `suspend()` the model computes without the delta."""
        self.delta_run, self.guidance, self.suspend = run, guidance, suspend
        with suspend():
            self.base_run = start_base_run()
        self.logits_BV = self._mix(run.logits_BV, self.base_run.logits_BV)

    def step(self, token_BK: Tensor) -> Tensor:
        """See `DecodingRun.step`."""
        with_RV = self.delta_run.step(token_BK)
        with self.suspend():
            return self._mix(with_RV, self.base_run.step(token_BK))

    def keep(self, kept_B: Tensor) -> None:
        """See `DecodingRun.keep`."""
        self.delta_run.keep(kept_B)
        self.base_run.keep(kept_B)

    def reorder(self, parent_BK: Tensor) -> None:
        """See `DecodingRun.reorder`."""
        self.delta_run.reorder(parent_BK)
        self.base_run.reorder(parent_BK)

    def join(self, other: Self) -> None:
        """Append the rows of another run of this kind."""
        self.delta_run.join(other.delta_run)
        self.base_run.join(other.base_run)

    def _mix(self, with_RV: Tensor, bare_RV: Tensor) -> Tensor:
        share_R1 = torch.full((len(with_RV), 1), self.guidance, device=with_RV.device)
        return mix_logits(with_RV.float(), bare_RV.float(), share_R1)
