"""Encode text of which some parts are marked as plain: in these, names of special tokens are not special tokens.

Keeps for each id which characters it comes from. Knows tokenizers; does not know chats.
"""

import re
from dataclasses import dataclass
from typing import Any

from components.errors import BaseModelError
from components.model.text.running_text import find_running_text

MARK_START, MARK_END = "\ufdd0", "\ufdd1"
"""Around text that is encoded as plain text. Unicode reserves these two for use inside a program."""
_PIECES = re.compile(f"{MARK_START}([^{MARK_START}{MARK_END}]*){MARK_END}|[{MARK_START}{MARK_END}]")
_ANCHOR = "\n"

Span = tuple[int, int]
"""First character and end."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The ids of a text, and the characters that each of them comes from."""

    ids: list[int]
    spans: list[Span]


def encode_marked_text(tokenizer: Any, text: str, start: int = 0) -> EncodedText:
    """Encode a text from a character on, without tokens that the tokenizer itself puts around texts.

    Raises:
        BaseModelError: the tokenizer does not tell which characters its ids come from.
    """
    ids: list[int] = []
    spans: list[Span] = []
    while start < len(text):
        mark = _PIECES.search(text, start)
        end = mark.start() if mark else len(text)
        pieces = [(start, text[start:end], False)]
        if mark and mark[1]:
            pieces.append((mark.start(1), mark[1], True))
        for first, piece, is_plain in pieces:
            encoded = _encode_piece(tokenizer, piece, is_plain=is_plain, continues=first > 0)
            ids += encoded.ids
            spans += [(first + low, first + high) for low, high in encoded.spans]
        start = mark.end() if mark else len(text)
    return EncodedText(ids, spans)


def encode_after(tokenizer: Any, prompt: str, full: str) -> EncodedText:
    """Encode a text so that its first ids are exactly those of the prompt that it begins with."""
    first, whole = encode_marked_text(tokenizer, prompt), encode_marked_text(tokenizer, full)
    cut = len(first.ids)
    if whole.ids[:cut] == first.ids and all(start >= len(prompt) for start, _ in whole.spans[cut:]):
        return whole
    rest = encode_marked_text(tokenizer, full, len(prompt))
    return EncodedText([*first.ids, *rest.ids], [*first.spans, *rest.spans])


def _encode_piece(tokenizer: Any, piece: str, *, is_plain: bool, continues: bool) -> EncodedText:
    if not piece:
        return EncodedText([], [])
    # A tokenizer without a joiner adds a space to the start of a text; after a line break it adds none.
    anchor = _ANCHOR if continues and not find_running_text(tokenizer).joiner else ""
    try:
        encoded = tokenizer(
            anchor + piece,
            add_special_tokens=False,
            split_special_tokens=is_plain,
            return_offsets_mapping=True,
            verbose=False,
        )
    except NotImplementedError:
        fix = "save the tokenizer with save_pretrained of transformers 5"
        raise BaseModelError("a base with a tokenizer.json for conversations", "none", fix) from None
    kept = [
        (number, (low - len(anchor), high - len(anchor)))
        for number, (low, high) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if high > len(anchor) or not anchor
    ]
    return EncodedText([number for number, _ in kept], [span for _, span in kept])
