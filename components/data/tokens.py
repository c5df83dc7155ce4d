"""Encodes examples as token ids and checks that they fit the base's context.

Knows neither tokenizers nor models: the caller passes the encoder.

Shapes: R pairs, 2 for source and target, N tokens of all pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from components.data.pairs import TextPairs, TokenizedPairs
from components.data.schema import Example
from components.data.token_file import TokenFile
from components.errors import DataError

_PAIRS_PER_CHUNK = 1024
"""Pairs encoded at a time; as Python integers, ids take ten times the memory of the array."""


_SHOWN_TEXTS = 3


class TextEncoder(Protocol):
    """Encodes sources and targets as a base expects them."""

    @property
    def eos_id(self) -> int:
        """The id at the end of sources and targets."""

    @property
    def unknown_id(self) -> int | None:
        """The id of text that the tokenizer has no token for; None if there is no such id."""

    def encode_sources(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        """Return the ids of each source, cut to `limit` tokens unless it is None."""

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each target."""


@dataclass(frozen=True, slots=True)
class _UnknownTokens:
    """How much of some examples the tokenizer cannot represent."""

    share: float
    """Unknown tokens / all tokens, without the end-of-text tokens."""
    texts: tuple[str, ...]
    """The first sources and targets with an unknown token."""

    def __str__(self) -> str:
        shown = ", ".join(map(_shorten, self.texts))
        return f"{self.share:.2%} unknown tokens, first in {shown}" if self.texts else "no unknown tokens"


def encode_examples(
    texts: TextEncoder,
    examples: Sequence[Example],
    *,
    context: int,
    prefix_length: int,
    max_source_tokens: int | None,
    expand_references: bool,
    separate_contexts: bool = False,
    name: str = "the examples",
    file: TokenFile | None = None,
    max_unknown: float = 1.0,
) -> TokenizedPairs:
    """Encode examples for training or a loss, in their order; `name` names their origin in error messages.

    The target is the first reference; with `expand_references` each reference gives a pair. `context` and
    `prefix_length` count positions; `max_source_tokens` cuts sources (the end-of-text id is added after the cut). With
    `separate_contexts` (encoder-decoder bases) source and target may each fill the context, and the prefix takes no
    position. `file` stores the ids; pass it only if the ids depend on nothing but the tokenizer and these arguments.
    `max_unknown` is the share of unknown tokens that is accepted.

    Raises:
        DataError: source, target and prefix together exceed the context; the message has the example and its lengths.
            Or more tokens are unknown than `max_unknown`; the message has the share and the first texts.

    """
    kept = [example.references if expand_references else example.references[:1] for example in examples]
    wanted = [(example.source, text) for example, references in zip(examples, kept, strict=True) for text in references]

    def encoded() -> TokenizedPairs:
        return _encode_chunks(texts, wanted, max_source_tokens)

    pairs = encoded() if file is None else file.read_or_encode(wanted, [max_source_tokens, separate_contexts], encoded)
    taken_R = pairs.sizes_R2.max(axis=1) if separate_contexts else pairs.sizes_R2.sum(axis=1) + prefix_length
    if (too_long := np.flatnonzero(taken_R > context)).size:
        pair = int(too_long[0])
        source, target = pairs.sizes_R2[pair].tolist()
        number = int(np.repeat(np.arange(1, len(kept) + 1), [*map(len, kept)])[pair])
        got = f"a source of {source} and a target of {target} tokens in example {number} of {name}"
        raise _make_length_error(context, prefix_length, f"{got} ({_shorten(wanted[pair][0])})")
    if max_unknown < 1 and (unknown := _count_unknown_tokens(texts, wanted, pairs)).share > max_unknown:
        raise _make_unknown_error(unknown, max_unknown, name)
    return pairs


def _make_unknown_error(unknown: _UnknownTokens, limit: float, name: str) -> DataError:
    """Return the error for examples with too many unknown tokens; `name` is the origin of the examples."""
    fix = "use a base whose tokenizer covers this text, correct the text, or raise data.max_unknown"
    return DataError(f"at most {limit:.2%} tokens that the base's tokenizer does not know", f"{unknown} of {name}", fix)


def _count_unknown_tokens(texts: TextEncoder, wanted: TextPairs, pairs: TokenizedPairs) -> _UnknownTokens:
    """Count in the ids of `wanted`; an end-of-text token that ends a source or a target is not unknown."""
    unknown_id, sizes_S = texts.unknown_id, pairs.sizes_R2.reshape(-1)
    if unknown_id is None or not len(pairs):
        return _UnknownTokens(0.0, ())
    ends_S = sizes_S.cumsum(dtype=np.int64)
    ids_N = np.array(pairs.ids_N[: ends_S[-1]])
    is_unknown_N = ids_N == unknown_id
    if unknown_id == texts.eos_id:
        is_unknown_N[ends_S - 1] = False
    text_U = np.unique(np.searchsorted(ends_S, np.flatnonzero(is_unknown_N), side="right"))
    shown = dict.fromkeys(wanted[int(text) // 2][int(text) % 2] for text in text_U[: 8 * _SHOWN_TEXTS])
    counted = max(len(ids_N) - len(sizes_S), 1)
    return _UnknownTokens(float(is_unknown_N.sum()) / counted, tuple(shown)[:_SHOWN_TEXTS])


def _encode_chunks(texts: TextEncoder, wanted: TextPairs, limit: int | None) -> TokenizedPairs:
    """Encode the pairs in chunks; equal sources of one chunk are encoded once."""
    ids: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
    sizes: list[tuple[int, int]] = []
    for start in range(0, len(wanted), _PAIRS_PER_CHUNK):
        chunk = wanted[start : start + _PAIRS_PER_CHUNK]
        distinct = list(dict.fromkeys(source for source, _ in chunk))
        ids_by_source = dict(zip(distinct, texts.encode_sources(distinct, limit), strict=True))
        rows = list(
            zip(
                (ids_by_source[source] for source, _ in chunk),
                texts.encode_targets([text for _, text in chunk]),
                strict=True,
            )
        )
        sizes += [(len(source), len(target)) for source, target in rows]
        ids.append(np.fromiter(chain.from_iterable(chain(*row) for row in rows), dtype=np.int32))
    return TokenizedPairs.from_contiguous(np.concatenate(ids), np.array(sizes, dtype=np.int32).reshape(-1, 2))


def _make_length_error(context: int, prefix_length: int, got: str) -> DataError:
    fix = "shorten the example, or set train.max_source_tokens to cut sources"
    wanted = f"at most {context} tokens (the base's context), including {prefix_length} of the prefix"
    return DataError(wanted, got, fix)


def _shorten(source: str) -> str:
    return repr(source if len(source) <= 60 else f"{source[:57]}...")
