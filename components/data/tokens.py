"""Encodes examples as token ids and checks that they fit the base's context.

Knows neither tokenizers nor models: the caller passes the encoders.

Shapes: R pairs, 2 for source and target, N tokens of all pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from components.data.chat_tokens import ChatEncoding, encode_conversations
from components.data.pairs import TextPairs, TokenizedPairs, join_pairs
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
    chats: ChatEncoding | None = None,
) -> TokenizedPairs:
    """Encode examples for training or a loss, in their order; `name` names their origin in error messages.

    The target is the first reference; with `expand_references` each reference gives a pair. `context` and
    `prefix_length` count positions; `max_source_tokens` cuts sources (the end-of-text id is added after the cut). With
    `separate_contexts` (encoder-decoder bases) source and target may each fill the context, and the prefix takes no
    position. `file` stores the ids; pass it only if the ids depend on nothing but the tokenizer and these arguments.
    `max_unknown` is the share of unknown tokens that is accepted. Conversations, for which `chats` is needed, follow
    the pairs, and their share of unknown tokens is that of their messages.

    Raises:
        DataError: source, target and prefix together exceed the context; the message has the example and its lengths.
            Or more tokens are unknown than `max_unknown`; the message has the share and the first texts. Or an example
            is a conversation and `chats` is None, or its chat template refuses it.
        BaseModelError: an example is a conversation, and the base has no chat template.

    """
    if any(example.chat is not None for example in examples):
        return _encode_mixed(
            texts,
            examples,
            chats,
            context=context,
            prefix_length=prefix_length,
            max_source_tokens=max_source_tokens,
            expand_references=expand_references,
            separate_contexts=separate_contexts,
            name=name,
            file=file,
            max_unknown=max_unknown,
        )
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


def _encode_mixed(
    texts: TextEncoder,
    examples: Sequence[Example],
    chats: ChatEncoding | None,
    *,
    context: int,
    prefix_length: int,
    name: str,
    file: TokenFile | None,
    max_unknown: float,
    **options: Any,
) -> TokenizedPairs:
    """Encode the pairs, then the conversations."""
    if chats is None or options["separate_contexts"]:
        got = "a base that reads source and target apart" if options["separate_contexts"] else "a method without them"
        fix = "use a decoder-only base and another method than in-context, or deliver pairs of source and references"
        raise DataError(f"a base and a method for the conversations of {name}", got, fix)
    common: dict[str, Any] = {"context": context, "prefix_length": prefix_length, "name": name}
    numbered = [one for one in enumerate(examples, start=1) if one[1].chat is not None]
    own_file = None if file is None else replace(file, path=file.path.with_suffix(f".chats{file.path.suffix}"))
    rows = encode_conversations(chats, numbered, **common, file=own_file)
    if max_unknown < 1:
        contents = [(" ".join(one.input_texts), one.references[0]) for _, one in numbered]
        unknown = _count_unknown_tokens(texts, contents, _encode_chunks(texts, contents, None))
        if unknown.share > max_unknown:
            raise _make_unknown_error(unknown, max_unknown, name)
    pairs = [example for example in examples if example.chat is None]
    if not pairs:
        return rows
    return join_pairs(encode_examples(texts, pairs, **common, file=file, max_unknown=max_unknown, **options), rows)


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
