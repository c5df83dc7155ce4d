"""The events of vLLM's streamed answer: token ids, their log probabilities, and why the answer has ended.

Knows vLLM's protocol; does not know texts or HTTP.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.serving.remote.server_errors import BrokenReplyError, read_error

_ID_MARK = "token_id:"


@dataclass(frozen=True, slots=True)
class ReplyToken:
    """One generated token."""

    token_id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens as (id, log probability), the likeliest first."""


@dataclass(frozen=True, slots=True)
class ReplyEvent:
    """One event of a stream."""

    tokens: tuple[ReplyToken, ...] = ()
    finish: str | None = None
    """"stop", "length", or another word of vLLM's; None: the answer goes on."""


def parse_event(data: str, top_count: int = 0) -> ReplyEvent:
    """Return the event that the data of one server-sent event describe, with at most `top_count` alternatives a token.

    Raises:
        PrefixFleetError: the server reports an error, or sends what is no event.
    """
    try:
        fields = json.loads(data)
        if "error" in fields:
            raise read_error(fields["error"])
        choices = fields.get("choices")
        if not choices:
            return ReplyEvent()
        ids, logprobs = choices[0].get("token_ids") or (), choices[0].get("logprobs")
        tokens = tuple(map(ReplyToken, ids)) if logprobs is None else _read_logprobs(ids, logprobs, top_count)
        return ReplyEvent(tokens, choices[0].get("finish_reason"))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as problem:
        raise BrokenReplyError(f"{type(problem).__name__} in {data[:200]!r}") from problem


def _read_logprobs(ids: Any, logprobs: Mapping[str, Any], top_count: int) -> tuple[ReplyToken, ...]:
    tops = logprobs.get("top_logprobs") or [None] * len(ids)
    return tuple(
        ReplyToken(int(token), float(value), _rank(top or {}, top_count))
        for token, value, top in zip(ids, logprobs["token_logprobs"], tops, strict=True)
    )


def _rank(top: Mapping[str, float], count: int) -> tuple[tuple[int, float], ...]:
    pairs = [(int(name.removeprefix(_ID_MARK)), float(value)) for name, value in top.items()]
    return tuple(sorted(pairs, key=lambda pair: -pair[1])[:count])
