"""Encode texts to token ids and decode them, the same way in training, evaluation and serving.

For a decoder-only base a source is `source <eos>` and a target is ` target <eos>`. For an encoder-decoder base the
tokenizer adds its own special tokens to texts and target texts (language codes, start and end tokens). Knows
tokenizers; does not know models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.errors import BaseModelError
from components.model.text.demonstrations import Demonstrations


@dataclass(frozen=True)
class TextCodec:
    """A base's tokenizer with the base's conventions; with demonstrations, each source gets its own before it."""

    tokenizer: Any
    encoder_decoder: bool = False
    demonstrations: Demonstrations | None = None
    source_token_budget: int = 0
    """Most tokens of a source together with its demonstrations; the least similar demonstrations are left out."""
    leave_out_same: bool = False
    """Whether pairs with exactly the same source are excluded (for sources of the training split)."""

    @property
    def eos_id(self) -> int:
        """The id of the end-of-text token.

        Raises:
            BaseModelError: the tokenizer has no such token.
        """
        eos = self.tokenizer.eos_token_id
        if not isinstance(eos, int):
            fix = "set eos_token in tokenizer_config.json"
            raise BaseModelError("a tokenizer with an end-of-text token", "none", fix)
        return eos

    def encode_sources(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        """Return the ids of each source, cut to `limit` ids if it is set; special tokens are added after the cut.

        Raises:
            BaseModelError: the tokenizer has no end-of-text id.
            DataError: a source does not fit `source_token_budget`.
        """
        if self.demonstrations is not None:
            return [self._encode_with_demonstrations(text, limit) for text in texts]
        if self.encoder_decoder:
            return self._encode_with_special_tokens("text", texts, limit)
        eos = self.eos_id
        return [[*ids[:limit], eos] for ids in self._encode_without_special_tokens(texts)]

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each target, ending with the end-of-text id. Raises BaseModelError as `encode_sources`."""
        if self.encoder_decoder:
            return self._encode_with_special_tokens("text_target", texts, None)
        eos = self.eos_id
        return [[*ids, eos] for ids in self._encode_without_special_tokens([f" {text}" for text in texts])]

    def decode(self, ids: Sequence[int]) -> str:
        """Return generated ids as stripped text, without special tokens."""
        decoded = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded).strip()

    def _encode_without_special_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        # split_special_tokens: "<|endoftext|>" in a tenant's text is plain text and must not end it.
        encoded = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _encode_with_special_tokens(self, kind: str, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        eos, special = self.eos_id, set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        if not texts:
            return []
        cut = {}
        if limit is not None:
            cut = {"truncation": True, "max_length": limit + self.tokenizer.num_special_tokens_to_add()}
        rows = self.tokenizer(**{kind: list(texts)}, split_special_tokens=True, verbose=False, **cut)["input_ids"]
        return [row if row and row[-1] in special else [*row, eos] for row in rows]

    def _encode_with_demonstrations(self, text: str, limit: int | None) -> list[int]:
        assert self.demonstrations is not None  # noqa: S101 - checked by the caller
        before, after = self._find_special_ids() if self.encoder_decoder else ([], [self.eos_id])
        *ids, _eos = self.demonstrations.encode_source(
            lambda part: self._encode_without_special_tokens([part])[0],
            self.eos_id,
            text,
            self.source_token_budget - len(before) - len(after) + 1,
            limit=limit,
            leave_out_same=self.leave_out_same,
        )
        return [*before, *ids, *after]

    def _find_special_ids(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a source."""
        (marked,), (bare,) = (
            self._encode_with_special_tokens("text", ["a"], None),
            self._encode_without_special_tokens(["a"]),
        )
        start = next(index for index in range(len(marked)) if marked[index : index + len(bare)] == bare)
        return marked[:start], marked[start + len(bare) :]
