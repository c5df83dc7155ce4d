"""What a token of one layer sees of the tokens before it: all of them, a sliding window, or its own chunk.

Slots of prefixes are exempt, as attention sinks are: every token sees them, however far away they are. Distances and
chunks are therefore counted in a row's own tokens, without its slots. This is the only place that knows the rules of a
window and of a chunk; training, decoding and serving make their masks from it.

Shapes: Q queries and S keys of the last axes; any axes before them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

SLOT = -1
"""The token index of a slot of a prefix."""
_LONGEST_ROW = 2**20
"""A window at least this long is none."""
_PROBED_QUERIES = (0, 1, 2, 3, 5, 8, 13, 64, 257, 1000)


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """What a token sees of its row: of the tokens up to itself all, the last `size`, or those of its chunk of `size`.

    Chunks are counted from the row's first token.
    """

    kind: Literal["all", "window", "chunk"] = "all"
    size: int = 0

    def __str__(self) -> str:
        return "all tokens" if self.kind == "all" else f"a {self.kind} of {self.size} tokens"

    def is_near(self, query: Tensor, key: Tensor) -> Tensor:
        """Whether a query sees a key, by their token indices, which broadcast; slots are always near.

        The order of the tokens (causality) and padding are the caller's.
        """
        if self.kind == "all":
            return torch.ones((), dtype=torch.bool, device=query.device)
        near = query - key < self.size if self.kind == "window" else query // self.size == key // self.size
        return near | (key == SLOT)


ALL_TOKENS = TokenSpan()


def find_span(mask_function: Callable[..., Any], device: torch.device) -> TokenSpan | None:
    """Return the span that a mask function of transformers computes for a row without padding; None: another one.

    `mask_function(batch, head, query, key)` takes tensors of indices. It is called at a few distant queries, so that no
    long row is computed.
    """

    def list_seen(query: int, count: int) -> Tensor:
        one = torch.zeros(1, dtype=torch.long, device=device)
        key_S = torch.arange(count, device=device)
        return torch.as_tensor(mask_function(one, one, one + query, key_S), device=device).expand(count)

    def find_first(query: int) -> int:
        return int(list_seen(query, query + 1).long().argmax())

    span = ALL_TOKENS
    if find_first(_LONGEST_ROW):
        low, high = 0, _LONGEST_ROW  # the first query that does not see token 0 lies in (low, high]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if find_first(middle) else (middle, high)
        span = TokenSpan("chunk" if find_first(high) == high and high > 1 else "window", high)
    for base in (0, span.size, 3 * span.size):
        for query in (base + offset for offset in _PROBED_QUERIES):
            key_S = torch.arange(query + 3, device=device)
            wanted_S = (key_S <= query) & span.is_near(torch.tensor(query, device=device), key_S)
            if not torch.equal(list_seen(query, query + 3).bool(), wanted_S):
                return None
    return span
