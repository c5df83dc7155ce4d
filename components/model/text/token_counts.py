"""Counts the tokens of texts with a base's tokenizer.json, without loading the base. Knows no prefix."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from components.model.text.running_text import RunningText, probe_running_text
from components.storage.json_text import parse_json

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_target_positions", "seq_length")
_ROWS_PER_CHUNK = 2048
_SHOWN_TEXTS = 3


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """The greatest lengths of texts in tokens, with the tokens that training puts before and after them."""

    longest_source: int
    longest_target: int
    longest_pair: int
    """Source and target together."""
    unknown_share: float
    """Share of the tokens that are the tokenizer's unknown token."""
    unknown_texts: tuple[str, ...] = ()
    """The first texts with an unknown token."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """A tokenizer, and the base's context in tokens."""

    tokenizer: Any
    context: int | None
    """None: config.json does not tell."""
    separate_contexts: bool
    """Whether source and target may each fill the context (encoder-decoder bases)."""
    unknown_id: int | None
    running_text: RunningText

    def measure(self, pairs: Iterable[tuple[str, str]], limit: int | None) -> TokenLengths:
        """Count the tokens of pairs of source and target; sources are cut to `limit` tokens unless it is None."""
        longest_source = longest_target = longest_pair = unknown = total = 0
        unknown_texts: dict[str, None] = {}
        lead = len(self.running_text.lead_ids)
        rows = iter(pairs)
        while chunk := list(islice(rows, _ROWS_PER_CHUNK)):
            sources = self._encode([source for source, _ in chunk])
            targets = self._encode([f"{self.running_text.joiner}{text}" for _, text in chunk])
            for texts, source, target in zip(chunk, sources, targets, strict=True):
                lengths = lead + len(source[:limit]) + 1, len(target) + 1
                longest_source, longest_target = max(longest_source, lengths[0]), max(longest_target, lengths[1])
                longest_pair = max(longest_pair, sum(lengths))
                total += len(source) + len(target)
                if self.unknown_id is not None:
                    counts = source.count(self.unknown_id), target.count(self.unknown_id)
                    unknown += sum(counts)
                    if len(unknown_texts) < _SHOWN_TEXTS:
                        found = (text for text, count in zip(texts, counts, strict=True) if count)
                        unknown_texts |= dict.fromkeys(found)
        share = unknown / total if total else 0.0
        shown = tuple(unknown_texts)[:_SHOWN_TEXTS]
        return TokenLengths(longest_source, longest_target, longest_pair, share, shown)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [one.ids for one in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def open_token_counter(folder: Path) -> TokenCounter | None:
    """Return a counter for the base in `folder`; None if its tokenizer or its config cannot be read this way."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = parse_json((folder / "config.json").read_bytes())
        unknown_id = _find_unknown_id(tokenizer)
    except Exception:  # noqa: BLE001 - tokenizers raises bare Exceptions
        return None
    if not isinstance(config, dict):
        return None
    tokenizer.encode_special_tokens = True
    separate = bool(config.get("is_encoder_decoder"))
    text = config.get("text_config")
    sections = [config, text] if isinstance(text, dict) else [config]
    contexts = [value for section in sections for key in _CONTEXT_KEYS if isinstance(value := section.get(key), int)]
    running_text = probe_running_text(
        lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids),
        lambda text: list(tokenizer.encode(text).ids),
        unknown_id,
    )
    return TokenCounter(tokenizer, contexts[0] if contexts else None, separate, unknown_id, running_text)


def _find_unknown_id(tokenizer: Any) -> int | None:
    name = getattr(tokenizer.model, "unk_token", None)
    if name is not None:
        number: int | None = tokenizer.token_to_id(name)
        return number
    # A unigram model keeps the id, which only its JSON shows.
    saved = parse_json(tokenizer.to_str())["model"] if type(tokenizer.model).__name__ == "Unigram" else {}
    unknown = saved.get("unk_id")
    return unknown if isinstance(unknown, int) else None
