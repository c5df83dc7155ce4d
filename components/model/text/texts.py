"""Encode texts to token ids and decode them, the same way in training, evaluation and serving.

For a decoder-only base a row is one running text, `source <eos> target <eos>`: what the tokenizer puts before a text
(BOS) comes once, before the source, and the target has one space before it. For an encoder-decoder base the tokenizer
adds its own special tokens to texts and target texts (language codes, start and end tokens). Knows tokenizers; does not
know models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.errors import BaseModelError, DataError
from components.model.text.demonstrations import Demonstrations
from components.model.text.running_text import RunningText, encode_plain, find_running_text


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
    token_rows: int | None = None
    """Ids that the model knows, 0 to `token_rows` - 1; None: any id is returned."""

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

    @property
    def unknown_id(self) -> int | None:
        """The id of text that the tokenizer has no token for; None if there is no such id."""
        unknown = self.tokenizer.unk_token_id
        return unknown if isinstance(unknown, int) else None

    def encode_sources(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        """Return the ids of each source, cut to `limit` ids if it is set; special tokens are added after the cut.

        Raises:
            BaseModelError: the tokenizer has no end-of-text id.
            DataError: a source does not fit `source_token_budget`, or has an id that the model does not know.
        """
        if self.demonstrations is not None:
            rows = [self._encode_with_demonstrations(text, limit) for text in texts]
        elif self.encoder_decoder:
            rows = self._encode_with_special_tokens("text", texts, limit)
        else:
            eos, lead = self.eos_id, self._running_text.lead_ids
            rows = [[*lead, *ids[:limit], eos] for ids in encode_plain(self.tokenizer, list(texts))]
        return self._check_ids(rows, texts)

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each target, ending with the end-of-text id. Raises as `encode_sources`."""
        if self.encoder_decoder:
            rows = self._encode_with_special_tokens("text_target", texts, None)
        else:
            eos, joiner = self.eos_id, self._running_text.joiner
            rows = [[*ids, eos] for ids in encode_plain(self.tokenizer, [f"{joiner}{text}" for text in texts])]
        return self._check_ids(rows, texts)

    def encode_words(self, text: str) -> list[int]:
        """Return the ids of a text alone, without special tokens. Raises DataError as `encode_sources`."""
        return self._check_ids(encode_plain(self.tokenizer, [text]), [text])[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Return generated ids as stripped text, without special tokens."""
        decoded = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded).strip()

    @property
    def _running_text(self) -> RunningText:
        return find_running_text(self.tokenizer)

    def _check_ids(self, rows: list[list[int]], texts: Sequence[str]) -> list[list[int]]:
        if self.token_rows is None:
            return rows
        for ids, text in zip(rows, texts, strict=True):
            if ids and max(ids) >= self.token_rows:
                outside = max(ids)
                got = f"id {outside} ({self.tokenizer.convert_ids_to_tokens(outside)!r}) in {text[:60]!r}"
                fix = "use the tokenizer that the model was made with, or add rows to the model"
                raise DataError(f"token ids below {self.token_rows}, the rows of the model", got, fix)
        return rows

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
        running = self._running_text
        before, after = self._find_special_ids() if self.encoder_decoder else (running.lead_ids, [self.eos_id])
        *ids, _eos = self.demonstrations.encode_source(
            lambda part: encode_plain(self.tokenizer, [part])[0],
            self.eos_id,
            text,
            self.source_token_budget - len(before) - len(after) + 1,
            limit=limit,
            leave_out_same=self.leave_out_same,
            joiner=running.joiner,
        )
        return [*before, *ids, *after]

    def _find_special_ids(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a source."""
        (marked,), (bare,) = (
            self._encode_with_special_tokens("text", ["a"], None),
            encode_plain(self.tokenizer, ["a"]),
        )
        start = next(index for index in range(len(marked)) if marked[index : index + len(bare)] == bare)
        return marked[:start], marked[start + len(bare) :]
