"""Ban texts from generation, by the bytes that each token of a vocabulary adds to a text.

A token is impossible if its bytes contain a banned text, or complete one that the row's last bytes have begun. So a
text is found however it is split into tokens. Exact for byte-level tokenizers. For others exact if decoding
concatenates what each token adds; letters beyond ASCII that are split into several tokens without `<0xNN>` names are
not found. Case-sensitive. Knows token ids and their bytes; does not know logits.

Shapes: R rows, N slots for new tokens, V vocabulary.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from tokenizers import decoders
from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTE_NAME = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@lru_cache(maxsize=4)
def read_token_bytes(tokenizer: Any, size: int) -> tuple[bytes, ...]:
    """Return the bytes that each id below `size` adds inside a text; b"" for special tokens and unknown ids.

    Cached for the last four tokenizers, which must not change afterwards.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not isinstance(backend.decoder, decoders.ByteLevel):
        return _decode_token_bytes(tokenizer, size)
    byte_of = {letter: number for number, letter in bytes_to_unicode().items()}
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    pieces = []
    for number in range(size):
        name = None if number in special else backend.id_to_token(number)
        if name is None:
            pieces.append(b"")
        elif all(letter in byte_of for letter in name):
            pieces.append(bytes(byte_of[letter] for letter in name))
        else:
            pieces.append(name.encode())
    return tuple(pieces)


class BannedTexts:
    """Finds, row by row, the tokens that would complete one of several banned texts."""

    def __init__(self, texts: Sequence[str], pieces: Sequence[bytes], eos_id: int) -> None:
        """Find the tokens that contain a text. `eos_id` is never impossible, because it adds nothing to a text."""
        self._token_bytes = [*pieces]
        self._token_bytes[eos_id] = b""
        phrases = [text.encode() for text in texts]
        self._contains_text_V = torch.tensor(
            [any(phrase in piece for phrase in phrases) for piece in self._token_bytes]
        )
        self._lookback_bytes = max(map(len, phrases), default=1) - 1
        starts = tuple({phrase[:cut] for phrase in phrases for cut in range(1, len(phrase))})
        inner = [phrase[:-1] for phrase in phrases if len(phrase) > 1]
        self._may_open_text_V = torch.tensor(
            [piece.endswith(starts) or any(piece in start for start in inner) for piece in self._token_bytes]
        )
        order = sorted(range(len(self._token_bytes)), key=self._token_bytes.__getitem__)
        ordered = [self._token_bytes[number] for number in order]
        order_V = torch.tensor(order)
        self._completions = [
            (phrase[:cut], _find_ids_starting_with(phrase[cut:], ordered, order_V))
            for phrase in phrases
            for cut in range(1, len(phrase))
        ]

    def make_mask(self, history_RN: Tensor, length: int) -> Tensor:
        """Mask of tokens that would complete a text after `history_RN[:, :length]`: [R, V], or [1, V] for all rows."""
        device = history_RN.device
        if self._contains_text_V.device != device:
            self._contains_text_V, self._may_open_text_V = (
                self._contains_text_V.to(device),
                self._may_open_text_V.to(device),
            )
        contains_text_1V = self._contains_text_V[None]
        if not length or not self._lookback_bytes:
            return contains_text_1V
        open_R = self._may_open_text_V[history_RN[:, length - 1]].nonzero()[:, 0]
        completing = [
            (row, ids)
            for row, history in zip(open_R.tolist(), history_RN[open_R, :length].tolist(), strict=True)
            for ids in self._find_completing_ids(self._read_last_bytes(history))
        ]
        if not completing:
            return contains_text_1V
        mask_RV = contains_text_1V.repeat(len(history_RN), 1)
        rows = torch.cat([torch.full_like(ids, row) for row, ids in completing])
        mask_RV[rows.to(device), torch.cat([ids for _, ids in completing]).to(device)] = True
        return mask_RV

    def _read_last_bytes(self, history: list[int]) -> bytes:
        tail = b""
        for number in reversed(history):
            if len(tail) >= self._lookback_bytes:
                break
            tail = self._token_bytes[number] + tail
        return tail

    def _find_completing_ids(self, tail: bytes) -> list[Tensor]:
        return [ids for start, ids in self._completions if len(ids) and tail.endswith(start)]


@lru_cache(maxsize=16)
def get_banned_texts(tokenizer: Any, size: int, texts: tuple[str, ...], eos_id: int) -> BannedTexts:
    """Make the `BannedTexts` of a tokenizer; cached for the last sixteen calls."""
    return BannedTexts(texts, read_token_bytes(tokenizer, size), eos_id)


def _find_ids_starting_with(rest: bytes, ordered: list[bytes], order_V: Tensor) -> Tensor:
    end = bisect_right(ordered, rest, key=lambda piece: piece[: len(rest)])
    return order_V[bisect_left(ordered, rest) : end]


def _decode_token_bytes(tokenizer: Any, size: int) -> tuple[bytes, ...]:
    """Decode each token after a token of plain letters, because many decoders drop a space at the start of a text."""

    def decode(*ids: int) -> str:
        text: str = tokenizer.decode([*ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    anchor = next((number for number in range(size) if decode(number).isascii() and decode(number).isalpha()), None)
    before = () if anchor is None else (anchor,)
    start = decode(*before)
    pieces = []
    for number in range(size):
        after = decode(*before, number)
        piece = after.removeprefix(start) if after.startswith(start) else decode(number)
        name = _BYTE_NAME.fullmatch(tokenizer.convert_ids_to_tokens(number)) if piece == "\ufffd" else None
        pieces.append(bytes.fromhex(name[1]) if name else piece.encode())
    return tuple(pieces)
