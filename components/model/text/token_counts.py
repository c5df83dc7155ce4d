"""Counts the tokens of texts with a base's tokenizer.json, without loading the base. Knows no prefix."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_target_positions", "seq_length")
_ROWS_PER_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """The greatest lengths of texts in tokens, with the end-of-text token of source and target."""

    longest_source: int
    longest_target: int
    longest_pair: int
    """Source and target together."""
    unknown_share: float
    """Share of the tokens that are the tokenizer's unknown token."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """A tokenizer, and the base's context in tokens."""

    tokenizer: Any
    context: int | None
    """None: config.json does not tell."""
    separate_contexts: bool
    """Whether source and target may each fill the context (encoder-decoder bases)."""
    unknown_id: int | None

    def measure(self, pairs: Iterable[tuple[str, str]], limit: int | None) -> TokenLengths:
        """Count the tokens of pairs of source and target; sources are cut to `limit` tokens unless it is None."""
        longest_source = longest_target = longest_pair = unknown = total = 0
        rows = iter(pairs)
        while chunk := list(islice(rows, _ROWS_PER_CHUNK)):
            sources = self._encode([source for source, _ in chunk])
            targets = self._encode([f" {text}" for _, text in chunk])
            for source, target in zip(sources, targets, strict=True):
                lengths = len(source[:limit]) + 1, len(target) + 1
                longest_source, longest_target = max(longest_source, lengths[0]), max(longest_target, lengths[1])
                longest_pair = max(longest_pair, sum(lengths))
                total += len(source) + len(target)
                if self.unknown_id is not None:
                    unknown += source.count(self.unknown_id) + target.count(self.unknown_id)
        return TokenLengths(longest_source, longest_target, longest_pair, unknown / total if total else 0.0)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [one.ids for one in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def open_token_counter(folder: Path) -> TokenCounter | None:
    """Return a counter for the base in `folder`; None if its tokenizer or its config cannot be read this way."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except Exception:  # noqa: BLE001 - tokenizers raises bare Exceptions
        return None
    if not isinstance(config, dict):
        return None
    tokenizer.encode_special_tokens = True
    contexts = [value for key in _CONTEXT_KEYS if isinstance(value := config.get(key), int)]
    unknown = getattr(tokenizer.model, "unk_token", None)
    return TokenCounter(
        tokenizer,
        contexts[0] if contexts else None,
        bool(config.get("is_encoder_decoder")),
        None if unknown is None else tokenizer.token_to_id(unknown),
    )
