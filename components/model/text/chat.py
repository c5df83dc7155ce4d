"""Encode conversations as token ids with a base's chat template: prompts to answer, and rows to train on.

A prompt's ids are the same in training, evaluation and serving. In a row, only the assistant's turns count in the loss:
what the template marks by {% generation %}, else what an assistant's turn adds to the prompt before it. Knows
tokenizers and their templates; does not know models.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from components.errors import DataError, PrefixFleetError
from components.model.text.chat_template import ChatTemplate, Messages, Tools
from components.model.text.marked_text import EncodedText, Span, encode_after, encode_marked_text
from components.model.text.running_text import find_running_text
from components.model.text.texts import TextCodec

Turns = Literal["all", "last"]
_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChatRow:
    """A conversation to train on, at least one token of which counts."""

    ids: tuple[int, ...]
    mask: tuple[bool, ...]
    """For each id, whether it counts in the loss: the assistant's tokens and the token that ends a turn."""

    @property
    def prompt_length(self) -> int:
        """Number of ids before the first that counts."""
        return self.mask.index(True)


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Messages after which the assistant's next turn is generated."""

    messages: Messages
    tools: Tools | None = None


@dataclass(frozen=True)
class ChatCodec:
    """A base's tokenizer with its chat template."""

    tokenizer: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    """Values of the template's own variables."""
    token_rows: int | None = None
    """Ids that the model knows, 0 to `token_rows` - 1; None: any id is returned."""

    def encode_prompt(self, messages: Messages, tools: Tools | None = None) -> list[int]:
        """Return the ids after which the assistant's next turn is generated; BOS, if there is one, comes once.

        Raises:
            BaseModelError: the base has no chat template, or no tokenizer.json.
            DataError: the template refuses the messages, has no tools and some are given, or an id is unknown to the
                model.
        """
        return self._add_lead(self._encode_template(messages, tools))

    def writes_lead(self, messages: Messages) -> bool:
        """Return whether the template itself begins with what the tokenizer puts before a text. Raises as above."""
        return self._has_lead(self._encode_template(messages, None))

    def encode_conversation(
        self, messages: Messages, tools: Tools | None = None, *, turns: Turns = "all"
    ) -> list[ChatRow]:
        """Return the rows that train the assistant's turns, all or the last, which must be the last message.

        A message of weight 0 is not trained. All turns are one row, unless the template writes an earlier turn in
        another way than it was prompted or does not end it with a special token; then each turn is a row of its own. A
        row ends with the end-of-text id.

        Raises:
            BaseModelError: as `encode_prompt`.
            DataError: as `encode_prompt`; or the last message is not the assistant's; or the prompt of a turn is not
                the start of the conversation with it.
        """
        if not messages or messages[-1].get("role") != "assistant":
            raise DataError("a conversation that ends with the assistant's turn", "another end", "add its answer")
        if turns == "last":
            return [self._encode_last_turn(messages, tools)]
        ends = [number for number, one in enumerate(messages, start=1) if _is_trained(one)]
        if ends == [len(messages)]:
            return [self._encode_last_turn(messages, tools)]
        row = self._encode_turns_together(messages, tools, ends)
        return [self._encode_last_turn(messages[:end], tools) for end in ends] if row is None else [row]

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the template and the values of its variables."""
        made_from = [self.tokenizer.chat_template, dict(self.values)]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an assistant's turn: the end-of-text id, and that of the template if it is another."""
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        eos = self._text_codec.eos_id
        try:
            row = self._encode_last_turn(probe, None)
        except PrefixFleetError:
            return (eos,)
        return (eos, *(number for number in row.ids[-2:-1] if number in self._special_ids and number != eos))

    def decode(self, ids: Sequence[int]) -> str:
        """Return generated ids up to the first of `stop_ids` as stripped text, without special tokens."""
        end = next((place for place, number in enumerate(ids) if number in self.stop_ids), len(ids))
        return self._text_codec.decode(ids[:end])

    def decode_last_turn(self, row: ChatRow) -> str:
        """Return the last turn of a row as `decode` returns a generated turn with the same ids."""
        start = len(row.mask) - row.mask[::-1].index(False) if False in row.mask else 0
        return self.decode(row.ids[start:])

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer, self.values)

    @cached_property
    def _text_codec(self) -> TextCodec:
        return TextCodec(self.tokenizer, token_rows=self.token_rows)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return frozenset(added | set(self.tokenizer.all_special_ids))

    def _encode_last_turn(self, messages: Messages, tools: Tools | None) -> ChatRow:
        prompt = self._template.render(messages[:-1], tools, add_generation_prompt=True).text
        full = self._template.render(messages, tools, add_generation_prompt=False)
        _require_start(prompt, full.text)
        marked = [(max(start, len(prompt)), end) for start, end in full.spans if end > len(prompt)]
        if self._template.has_markers(tools) and not marked:
            raise _make_marker_error()
        return self._make_row(
            encode_after(self.tokenizer, prompt, full.text), marked or [(len(prompt), len(full.text))]
        )

    def _encode_turns_together(self, messages: Messages, tools: Tools | None, ends: Sequence[int]) -> ChatRow | None:
        """Return one row for all turns; None if the template does not write them as they were prompted and ended."""
        full = self._template.render(messages, tools, add_generation_prompt=False)
        prompt = self._template.render(messages[:-1], tools, add_generation_prompt=True).text
        if self._template.has_markers(tools):
            if not full.spans:
                raise _make_marker_error()
            assistants, spans = [one for one in messages if one["role"] == "assistant"], full.spans
            if len(ends) < len(assistants):
                if len(spans) != len(assistants):
                    return None
                spans = tuple(span for span, one in zip(spans, assistants, strict=True) if _is_trained(one))
            start = prompt if full.text.startswith(prompt) else ""
            return self._make_row(encode_after(self.tokenizer, start, full.text), spans)
        turns: list[Span] = []
        for end in ends:
            before = self._template.render(messages[: end - 1], tools, add_generation_prompt=True).text
            after = self._template.render(messages[:end], tools, add_generation_prompt=False).text
            if not (after.startswith(before) and full.text.startswith(after)):
                return None
            turns.append((len(before), len(after)))
        encoded = encode_after(self.tokenizer, prompt, full.text)
        trimmed = [self._trim_turn(encoded, turn) for turn in turns[:-1]]
        ended = [turn for turn in trimmed if turn is not None]
        return self._make_row(encoded, [*ended, turns[-1]]) if len(ended) == len(trimmed) else None

    def _trim_turn(self, encoded: EncodedText, turn: Span) -> Span | None:
        """Return a turn without what follows the special token that ends it; None if no such token ends it."""
        start, end = turn
        for number, span in zip(reversed(encoded.ids), reversed(encoded.spans), strict=True):
            if span[0] >= end:
                continue
            if span[0] < start:
                break
            if number in self._special_ids:
                return start, span[1]
            if not self._is_blank(number):
                break
        return None

    def _is_blank(self, number: int) -> bool:
        return number not in self._special_ids and not self.tokenizer.decode([number]).strip()

    def _make_row(self, encoded: EncodedText, turns: Sequence[Span]) -> ChatRow:
        turns = [*turns[:-1], self._trim_turn(encoded, turns[-1]) or turns[-1]]
        mask = [any(start <= span[0] < end and span[1] > start for start, end in turns) for span in encoded.spans]
        if not any(mask):
            raise DataError("an assistant's turn with at least one token", "an empty turn", "remove the conversation")
        end = len(mask) - mask[::-1].index(True)
        ids, special = encoded.ids, self._special_ids
        while end > 1 and mask[end - 2] and self._is_blank(ids[end - 1]):
            end -= 1
        if ids[end - 1] not in special and ids[end : end + 1] and ids[end] in special:
            end += 1
        ids, mask = ids[:end], [*mask[: end - 1], True]
        if ids[-1] != self._text_codec.eos_id:
            ids, mask = [*ids, self._text_codec.eos_id], [*mask, True]
        with_lead = self._add_lead(ids)
        return ChatRow(tuple(with_lead), (*[False] * (len(with_lead) - len(ids)), *mask))

    def _encode_template(self, messages: Messages, tools: Tools | None) -> list[int]:
        text = self._template.render(messages, tools, add_generation_prompt=True).text
        return encode_marked_text(self.tokenizer, text).ids

    def _has_lead(self, ids: Sequence[int]) -> bool:
        """Whether the first id that is no white space is BOS, or the first that the tokenizer puts before a text."""
        first = next((number for number in ids if not self._is_blank(number)), None)
        starts = find_running_text(self.tokenizer).lead_ids[:1]
        return first is not None and first in (*starts, self.tokenizer.bos_token_id)

    def _add_lead(self, ids: list[int]) -> list[int]:
        """Put what the tokenizer writes before a text (BOS) before the ids, unless the template wrote it."""
        ids = ids if self._has_lead(ids) else [*find_running_text(self.tokenizer).lead_ids, *ids]
        if self.token_rows is not None and max(ids, default=0) >= self.token_rows:
            got = f"id {max(ids)} ({self.tokenizer.convert_ids_to_tokens(max(ids))!r})"
            fix = "use the tokenizer that the model was made with, or add rows to the model"
            raise DataError(f"token ids below {self.token_rows}, the rows of the model", got, fix)
        return ids


def _is_trained(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant" and message.get("weight") != 0


def remove_thoughts(text: str) -> str:
    """Return an answer without the `<think>...</think>` that it begins with."""
    return _THOUGHTS.sub("", text, count=1).strip() if _THOUGHTS.match(text) else text


def _require_start(prompt: str, full: str) -> None:
    if full.startswith(prompt):
        return
    same = next((n for n, (one, other) in enumerate(zip(prompt, full, strict=False)) if one != other), len(full))
    got = f"{prompt[same : same + 40]!r} in the prompt, {full[same : same + 40]!r} with the answer"
    fix = (
        "set base.chat_template_kwargs (such as enable_thinking: false) or base.chat_template, so that the prompt of a "
        "turn is the start of the conversation with it"
    )
    raise DataError("a chat template that writes a turn after its prompt", got, fix)


def _make_marker_error() -> DataError:
    got = "a conversation in which its {% generation %} marks nothing of the assistant's turn"
    return DataError("a chat template that marks the assistant's turns", got, "correct the template")
