"""A batch that an encoder-decoder model decodes under attached prefixes; a `DecodingRun` as in `decoder_run`.

These models count positions by the length of the cache, so no row can join a batch that has started. Knows models; does
not know how the next token is chosen.

Shapes: B rows of a batch, K beams, R = B x K, T source tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from components.model.base.load import Base
from components.model.decoding.growing_cache import GrowingCacheLayer
from components.model.prefix.attach import Attachment

_IMPOSSIBLE_LOGIT = -1.0e9  # finite, so that it can be mixed


class Seq2SeqRun:
    """The rows of one batch on an encoder-decoder model. The caller attaches their prefixes."""

    def __init__(
        self,
        base: Base,
        attachment: Attachment | None,
        sources: Sequence[Sequence[int]],
        beams: int,
    ) -> None:
        """Encode every source once, padded on the right, and compute the logits of the first new token."""
        self.model, self.attachment, self.beams = base.model, attachment, beams
        longest = max(map(len, sources))
        ids_BT = torch.tensor([[*ids] + [base.pad_id] * (longest - len(ids)) for ids in sources], device=base.device)
        lengths_B1 = torch.tensor([[len(ids)] for ids in sources], device=base.device)
        self.mask_RT = (
            torch.arange(longest, device=base.device) < lengths_B1
        ).long()  # one beam per row until the prefill is done
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.encoder_outputs = self.model.get_encoder()(input_ids=ids_BT, attention_mask=self.mask_RT)
        self.logits_BV = self._forward(torch.full((len(sources), 1), base.decoder_start_id, device=base.device))
        forced = self.model.generation_config.forced_bos_token_id
        if forced is not None:
            kept_V = torch.arange(self.logits_BV.shape[1], device=base.device) == forced
            self.logits_BV = self.logits_BV.masked_fill(~kept_V, _IMPOSSIBLE_LOGIT)
        self.mask_RT = self.mask_RT.repeat_interleave(beams, dim=0)
        self.encoder_outputs["last_hidden_state"] = self.encoder_outputs["last_hidden_state"].repeat_interleave(
            beams, dim=0
        )
        own, cross = self.cache.self_attention_cache, self.cache.cross_attention_cache
        own.layers = [GrowingCacheLayer(layer, beams) for layer in own.layers]
        cross.batch_repeat_interleave(beams)

    def step(self, token_BK: Tensor) -> Tensor:
        """See `DecodingRun.step`."""
        return self._forward(token_BK.flatten()[:, None])

    def keep(self, kept_B: Tensor) -> None:
        """See `DecodingRun.keep`."""
        index_R = self._find_beam_rows(kept_B)
        self.mask_RT = self.mask_RT[index_R]
        self.encoder_outputs["last_hidden_state"] = self.encoder_outputs["last_hidden_state"][index_R]
        self.cache.self_attention_cache.batch_select_indices(index_R)
        self.cache.cross_attention_cache.batch_select_indices(index_R)
        if self.attachment is not None:
            self.attachment.keep(kept_B)

    def reorder(self, parent_BK: Tensor) -> None:
        """See `DecodingRun.reorder`; the encoder's output is the same in all beams of a row."""
        first_B1 = torch.arange(len(parent_BK), device=parent_BK.device)[:, None] * self.beams
        self.cache.self_attention_cache.reorder_cache((first_B1 + parent_BK).flatten())

    def _find_beam_rows(self, kept_B: Tensor) -> Tensor:
        return (kept_B[:, None] * self.beams + torch.arange(self.beams, device=kept_B.device)).flatten()

    def _forward(self, ids_BT: Tensor) -> Tensor:
        output: Any = self.model(
            encoder_outputs=self.encoder_outputs,
            attention_mask=self.mask_RT,
            decoder_input_ids=ids_BT,
            past_key_values=self.cache,
            use_cache=True,
        )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV
