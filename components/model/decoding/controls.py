"""Decoding controls on logits: impossible tokens, penalties, sampling and guidance.

Every control looks at new tokens only; those of transformers also look at a decoder-only model's prompt. Knows logits,
the new tokens so far and the bytes of a vocabulary. Does not know models, caches, beams or prompts.

Shapes: R rows (of a batch, or rows x beams), N slots for new tokens, V vocabulary, W windows of n tokens.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.errors import ConfigError
from components.model.decoding.top_candidates import find_likeliest_tokens
from components.model.text.banned import get_banned_texts

_IMPOSSIBLE = -math.inf


@dataclass(frozen=True, kw_only=True)
class DecodingControls:
    """The controls of new tokens; with the defaults all are off.

    Raises:
        ConfigError: a value is out of range.

    """

    min_new_tokens: int = 0
    """End-of-text is impossible before this many new tokens."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of earlier new tokens (Keskar et al. 2019, 4.1); 1 is off."""
    no_repeat_ngram: int = 0
    """No sequence of this many new tokens is generated twice; 0 is off."""
    banned: tuple[str, ...] = ()
    """Texts that are never generated, case-sensitive; a text of one letter bans every token that contains it."""
    temperature: float = 0.0
    """Divides the logits before a token is sampled; 0 takes the likeliest token without sampling."""
    top_p: float = 1.0
    """Sample from the fewest likeliest tokens that together reach this probability (Holtzman et al. 2020); 1 is off."""
    top_k: int = 0
    """Sample from this many likeliest tokens; 0 is off."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("min_new_tokens", "no_repeat_ngram", "top_k"):
            _check_value(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        _check_value(
            0 < self.repetition_penalty < math.inf, "repetition_penalty", "a number above 0", self.repetition_penalty
        )
        _check_value(0 <= self.temperature < math.inf, "temperature", "0 or a number above 0", self.temperature)
        _check_value(0 < self.top_p <= 1, "top_p", "a number above 0, at most 1", self.top_p)
        for text in self.banned:
            _check_value(
                _is_valid_banned_text(text),
                "banned",
                "texts of at least one letter, valid UTF-8, without U+FFFD",
                text,
            )


class RowGenerators:
    """One random generator per row, seeded by the row's own numbers: other rows and the batch size change no draw."""

    def __init__(self, seed: int, rows: Sequence[tuple[int, int]]) -> None:
        """Make one CPU generator for each (number of the row in the request, number of its sample).

        Each is seeded with 32 bits of a SHA-256: torch's CPU generator (Mersenne twister) uses no more of a seed.
        """
        self._generators = []
        for row, sample in rows:
            digest = hashlib.sha256(f"{seed}/{row}/{sample}".encode()).digest()
            self._generators.append(torch.Generator().manual_seed(int.from_bytes(digest[:4], "big")))

    def draw_gumbel(self, vocabulary: int) -> Tensor:
        """Draw standard Gumbel noise [R, V] on the CPU in float64, each row from its own generator."""
        uniform = [torch.rand(vocabulary, generator=one, dtype=torch.float64) for one in self._generators]
        return -(-torch.stack(uniform).log()).log()

    def keep(self, index_R: Tensor) -> None:
        """Keep only these rows, in this order."""
        self._generators = [self._generators[row] for row in index_R.tolist()]

    def join(self, other: "RowGenerators") -> None:
        """Append the rows of `other`."""
        self._generators += other._generators


class LogitsController:
    """Applies the controls of one decoding call, for one tokenizer."""

    def __init__(self, controls: DecodingControls, tokenizer: Any, eos_id: int, vocabulary_size: int) -> None:
        """Find the banned texts in the tokens of the first `vocabulary_size` ids, the width of the logits."""
        self.controls = controls
        self._is_eos_V = torch.arange(vocabulary_size) == eos_id
        self._banned_texts = None
        if controls.banned:
            self._banned_texts = get_banned_texts(tokenizer, vocabulary_size, tuple(controls.banned), eos_id)
        self.is_inactive = self._banned_texts is None and not (
            controls.repetition_penalty != 1 or controls.no_repeat_ngram or controls.min_new_tokens
        )
        """Whether `process_logits` changes no logits."""

    def process_logits(self, logits_RV: Tensor, history_RN: Tensor, length: int) -> Tensor:
        """Apply every control except sampling; impossible tokens get -inf. Return `logits_RV` itself if none is set.

        `history_RN[:, :length]` are the new tokens so far. If every token would be impossible, end-of-text is possible.
        For beams the logits are log probabilities, and are not normalised again, as in transformers.
        """
        controls, before = self.controls, logits_RV
        history_RL = history_RN[:, :length]
        if controls.repetition_penalty != 1:
            logits_RV = penalise_repetition(logits_RV, history_RL, controls.repetition_penalty)
        if controls.no_repeat_ngram:
            logits_RV = ban_repeated_ngrams(logits_RV, history_RL, controls.no_repeat_ngram)
        if self._banned_texts:
            logits_RV = logits_RV.masked_fill(self._banned_texts.make_mask(history_RN, length), _IMPOSSIBLE)
        if self._is_eos_V.device != logits_RV.device:
            self._is_eos_V = self._is_eos_V.to(logits_RV.device)
        if length < controls.min_new_tokens:
            logits_RV = logits_RV.masked_fill(self._is_eos_V, _IMPOSSIBLE)
        if logits_RV is before:
            return before
        all_impossible_R1 = (logits_RV == _IMPOSSIBLE).all(dim=1, keepdim=True)
        return logits_RV.masked_fill(all_impossible_R1 & self._is_eos_V, 0.0)

    def choose_tokens(self, logits_RV: Tensor, generators: RowGenerators | None = None) -> Tensor:
        """Choose the next token of every row [R]: the likeliest, or with a temperature a sampled one.

        A sample is the argmax of logits plus Gumbel noise, which follows their softmax (Gumbel 1954; Maddison et al.
        2014). Unlike sampling from cumulative probabilities, it rarely changes with the rounding of logits.
        """
        controls = self.controls
        if not controls.temperature:
            return find_likeliest_tokens(logits_RV)
        if generators is None:
            raise TypeError("wanted generators with a temperature; got None")
        logits_RV = (logits_RV - logits_RV.amax(dim=-1, keepdim=True)) / controls.temperature
        if controls.top_k:
            logits_RV = keep_top_k(logits_RV, controls.top_k)
        if controls.top_p < 1:
            logits_RV = keep_top_p(logits_RV, controls.top_p)
        noise_RV = generators.draw_gumbel(logits_RV.shape[1])
        return find_likeliest_tokens(logits_RV + noise_RV.to(logits_RV))


def penalise_repetition(logits_RV: Tensor, history_RL: Tensor, penalty: float) -> Tensor:
    """Divide positive logits of tokens in the history by `penalty`, and multiply negative ones.

    CTRL (Keskar et al. 2019) divides all of them; multiplying negative ones is a correction from transformers.
    """
    seen_RL = logits_RV.gather(1, history_RL)
    return logits_RV.scatter(1, history_RL, torch.where(seen_RL < 0, seen_RL * penalty, seen_RL / penalty))


def ban_repeated_ngrams(logits_RV: Tensor, history_RL: Tensor, size: int) -> Tensor:
    """Set logits to -inf where a token would complete a sequence of `size` tokens that is in the history already."""
    length = history_RL.shape[1]
    if length < size:
        return logits_RV
    windows_RWn = history_RL.unfold(1, size, 1)
    same_RW = (windows_RWn[:, :, :-1] == history_RL[:, None, length - size + 1 :]).all(dim=2)
    ceiling_RW = torch.where(same_RW, _IMPOSSIBLE, math.inf).to(logits_RV)
    return logits_RV.scatter_reduce(1, windows_RWn[:, :, -1], ceiling_RW, "amin")


def keep_top_k(logits_RV: Tensor, count: int) -> Tensor:
    """Set logits to -inf below the `count` largest of each row; ties with the last of them are kept."""
    last_R1 = logits_RV.topk(min(count, logits_RV.shape[1])).values[:, -1:]
    return logits_RV.masked_fill(logits_RV < last_R1, _IMPOSSIBLE)


def keep_top_p(logits_RV: Tensor, probability: float) -> Tensor:
    """Set logits to -inf, except for the fewest likeliest tokens whose probabilities sum to `probability`."""
    rising_RV, order_RV = logits_RV.sort(descending=False)
    drop_RV = rising_RV.softmax(dim=-1).cumsum(dim=-1) <= 1 - probability
    drop_RV[:, -1] = False
    return logits_RV.masked_fill(drop_RV.scatter(1, order_RV, drop_RV), _IMPOSSIBLE)


def mix_logits(logits_with_RV: Tensor, logits_base_RV: Tensor, guidance_R1: Tensor) -> Tensor:
    """Mix logits with and without a delta: base + guidance * (with - base); exact at guidance 0 and 1.

    Classifier-free guidance (Ho & Salimans 2022) on next-token probabilities (Sanchez et al. 2023), with the prefix in
    the place of the prompt. The papers mix log probabilities, which differ from logits by a constant per row, so the
    softmax is the same. Both inputs must be finite: mix before applying controls that set -inf.
    """
    return torch.lerp(logits_base_RV, logits_with_RV, guidance_R1.to(logits_base_RV))


def _is_valid_banned_text(text: str) -> bool:
    return bool(text) and "\ufffd" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_value(holds: bool, name: str, wanted: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"{name}: {wanted}", repr(got), f"change {name}")
