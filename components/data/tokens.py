"""Examples as token ids that fit a base's context.

Knows neither tokenizers nor models: how a text becomes ids is handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from components.data.schema import Example
from components.errors import DataError


class TextEncoder(Protocol):
    """How a base reads sources and targets."""

    def sources(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        """Ids of each source, cut to `limit` where that is set."""

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each target."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one training pair; both end with the end-of-text id (or the code that a tokenizer puts there)."""

    source_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of source and target together."""
        return len(self.source_ids) + len(self.target_ids)


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
) -> list[Encoded]:
    """Encode examples for training or for a loss, in their order; `name` is where they are from, for messages.

    A target is the first reference; with `expand_references` every reference gives a pair. `context` and
    `prefix_length` count positions; `max_source_tokens` cuts sources (the end-of-text id comes on top). With
    `separate_contexts` (encoder-decoder bases) source and target have the context each for itself, and slots take none
    of it.

    Raises:
        DataError: source, target and prefix together exceed the context; the example and its lengths are named.

    """
    pairs = [
        (number, example.source, reference)
        for number, example in enumerate(examples, start=1)
        for reference in (example.references if expand_references else example.references[:1])
    ]
    sources = texts.sources([source for _, source, _ in pairs], max_source_tokens)
    targets = texts.targets([reference for _, _, reference in pairs])
    encoded = []
    for (number, source, _), source_ids, target_ids in zip(pairs, sources, targets, strict=True):
        sizes = (len(source_ids), len(target_ids))
        if (max(sizes) if separate_contexts else sum(sizes) + prefix_length) > context:
            lengths = f"a source of {len(source_ids)} and a target of {len(target_ids)} tokens"
            raise _too_long(context, prefix_length, f"{lengths} in example {number} of {name} ({_shown(source)})")
        encoded.append(Encoded(tuple(source_ids), tuple(target_ids)))
    return encoded


def _too_long(context: int, prefix_length: int, got: str) -> DataError:
    fix = "shorten it, or set train.max_source_tokens to cut sources"
    wanted = f"at most {context} tokens, the base's context, with a prefix of {prefix_length}"
    return DataError(wanted, got, fix)


def _shown(source: str) -> str:
    return repr(source if len(source) <= 60 else f"{source[:57]}...")
