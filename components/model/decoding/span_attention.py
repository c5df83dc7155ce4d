"""The attention of cached rows on models whose layers see windows or chunks, cap their scores or have sinks.

Models with plain attention in every layer do not need it: they compute the attention of cached rows themselves. Knows
the attention interface and masks; does not know caches or how a token is chosen.

Shapes: B rows, T new tokens, S cached columns, with those of the new tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from components.model.base.attention_interface import ATTENTION_WITHOUT_MASK, override_attention
from components.model.base.attention_scores import attend_with_mask
from components.model.base.attention_sites import find_attention_layers
from components.model.base.token_spans import TokenSpan


class SpanAttention:
    """Computes the attention of a decoder-only model in forwards with a cache."""

    def __init__(self, model: Any) -> None:
        """Raises BaseModelError, see `find_attention_layers`."""
        self.model, self.layers = model, find_attention_layers(model)
        self._seen_BTS: Tensor | None = None
        self._near_by_span: dict[TokenSpan, Tensor] = {}
        self._indices: tuple[Tensor, Tensor] | None = None

    @contextmanager
    def activate(self, seen_BTS: Tensor, query_BT: Tensor, key_BS: Tensor) -> Iterator[None]:
        """Inside, a forward without a mask computes rows in which a token sees what it does without a span, if near.

        `query_BT` and `key_BS` are the token indices of the new tokens and of the columns; see `TokenSpan`.
        """
        self._seen_BTS, self._indices, self._near_by_span = seen_BTS, (query_BT[:, :, None], key_BS[:, None]), {}
        with override_attention(self.model, self.layers, self, ATTENTION_WITHOUT_MASK):
            yield

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """See `components.model.base.attention_interface.AttentionOverride.attend`."""
        del mask
        span = self.layers[module].span
        if span not in self._near_by_span:
            assert self._seen_BTS is not None and self._indices is not None  # noqa: S101, PT018 - set by activate
            self._near_by_span[span] = self._seen_BTS & span.is_near(*self._indices)
        return attend_with_mask(module, query, key, value, self._near_by_span[span][:, None], **kwargs)
