"""What the user asks of decoding beyond the model: impossible tokens, penalties, sampling and guidance, on logits.

Knows logits, the new tokens so far and the bytes of a vocabulary. Does not know models, caches, beams or prompts: every
control looks at new tokens alone, where transformers' also look at a decoder-only model's prompt.

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
from components.model.text.banned import get_banned_texts

_IMPOSSIBLE = -math.inf


@dataclass(frozen=True, kw_only=True)
class DecodingControls:
    """What to ask of the new tokens; the defaults ask nothing.

    Raises:
        ConfigError: a value is impossible.

    """

    min_new_tokens: int = 0
    """End-of-text is impossible before so many new tokens."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens that came before (Keskar et al. 2019, section 4.1)."""
    no_repeat_ngram: int = 0
    """No run of so many new tokens comes twice; 0 is off."""
    banned: tuple[str, ...] = ()
    """Texts that never appear in the output, case and all; one letter bans every token that contains it."""
    temperature: float = 0.0
    """Logits are divided by it before a token is drawn; 0 takes the likeliest and draws nothing."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together reach this probability (Holtzman et al. 2020)."""
    top_k: int = 0
    """Draw among so many likeliest tokens; 0 is off."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
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
                "texts of at least one letter that UTF-8 can hold, without U+FFFD",
                text,
            )


class RowGenerators:
    """Random numbers of each row, made of its own numbers alone: its company and the batch's size change nothing."""

    def __init__(self, seed: int, rows: Sequence[tuple[int, int]]) -> None:
        """Start one generator on the CPU for each (number of the row in the request, number of its sample).

        A seed is 32 bits of a SHA-256, all that torch's CPU generator (a Mersenne twister) keeps of one.
        """
        self._generators = []
        for row, sample in rows:
            digest = hashlib.sha256(f"{seed}/{row}/{sample}".encode()).digest()
            self._generators.append(torch.Generator().manual_seed(int.from_bytes(digest[:4], "big")))

    def draw_gumbel(self, vocabulary: int) -> Tensor:
        """Standard Gumbel noise [R, V] on the CPU, drawn in float64; every row's generator moves on."""
        uniform = [torch.rand(vocabulary, generator=one, dtype=torch.float64) for one in self._generators]
        return -(-torch.stack(uniform).log()).log()

    def keep(self, index_R: Tensor) -> None:
        """Go on with these rows alone, in this order."""
        self._generators = [self._generators[row] for row in index_R.tolist()]

    def join(self, other: "RowGenerators") -> None:
        """Take in another's rows, behind these."""
        self._generators += other._generators


class LogitsController:
    """The controls of one decoding call, for one tokenizer."""

    def __init__(self, controls: DecodingControls, tokenizer: Any, eos_id: int, vocabulary_size: int) -> None:
        """Look the banned texts up among the first `vocabulary_size` ids, the width of the logits."""
        self.controls = controls
        self._is_eos_V = torch.arange(vocabulary_size) == eos_id
        self._banned_texts = None
        if controls.banned:
            self._banned_texts = get_banned_texts(tokenizer, vocabulary_size, tuple(controls.banned), eos_id)
        self.is_inactive = self._banned_texts is None and not (
            controls.repetition_penalty != 1 or controls.no_repeat_ngram or controls.min_new_tokens
        )
        """Whether `process_logits` leaves all logits as they are."""

    def process_logits(self, logits_RV: Tensor, history_RN: Tensor, length: int) -> Tensor:
        """Logits after every control but sampling, -inf where impossible; `logits_RV` itself where nothing is set.

        `history_RN[:, :length]` are the new tokens so far. Where nothing would be possible, end-of-text alone is. Beams
        give log probabilities and do not normalise them again, as transformers does.
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
        nothing_R1 = (logits_RV == _IMPOSSIBLE).all(dim=1, keepdim=True)
        return logits_RV.masked_fill(nothing_R1 & self._is_eos_V, 0.0)

    def choose_tokens(self, logits_RV: Tensor, generators: RowGenerators | None = None) -> Tensor:
        """The next token of every row [R]: the likeliest, or with a temperature one drawn.

        A draw is the argmax of logits plus Gumbel noise, which samples their softmax (Gumbel 1954; Maddison et al.
        2014) and, unlike a draw along cumulated probabilities, hardly ever changes with rounding in a logit.
        """
        controls = self.controls
        if not controls.temperature:
            return logits_RV.argmax(dim=-1)
        if generators is None:
            raise TypeError("a temperature needs draws")
        logits_RV = (logits_RV - logits_RV.amax(dim=-1, keepdim=True)) / controls.temperature
        if controls.top_k:
            logits_RV = keep_top_k(logits_RV, controls.top_k)
        if controls.top_p < 1:
            logits_RV = keep_top_p(logits_RV, controls.top_p)
        noise_RV = generators.draw_gumbel(logits_RV.shape[1])
        return (logits_RV + noise_RV.to(logits_RV)).argmax(dim=-1)


def penalise_repetition(logits_RV: Tensor, history_RL: Tensor, penalty: float) -> Tensor:
    """Logits of tokens in the history, divided by `penalty` where positive, multiplied where negative.

    CTRL (Keskar et al. 2019) divides all; multiplying the negative ones is transformers' correction.
    """
    seen_RL = logits_RV.gather(1, history_RL)
    return logits_RV.scatter(1, history_RL, torch.where(seen_RL < 0, seen_RL * penalty, seen_RL / penalty))


def ban_repeated_ngrams(logits_RV: Tensor, history_RL: Tensor, size: int) -> Tensor:
    """Logits with -inf where a token would complete a run of `size` tokens that the history holds already."""
    length = history_RL.shape[1]
    if length < size:
        return logits_RV
    windows_RWn = history_RL.unfold(1, size, 1)
    same_RW = (windows_RWn[:, :, :-1] == history_RL[:, None, length - size + 1 :]).all(dim=2)
    ceiling_RW = torch.where(same_RW, _IMPOSSIBLE, math.inf).to(logits_RV)
    return logits_RV.scatter_reduce(1, windows_RWn[:, :, -1], ceiling_RW, "amin")


def keep_top_k(logits_RV: Tensor, count: int) -> Tensor:
    """Logits with -inf below the `count` largest of a row; ties with the last of them stay."""
    last_R1 = logits_RV.topk(min(count, logits_RV.shape[1])).values[:, -1:]
    return logits_RV.masked_fill(logits_RV < last_R1, _IMPOSSIBLE)


def keep_top_p(logits_RV: Tensor, probability: float) -> Tensor:
    """Logits with -inf but for the fewest likeliest tokens whose probabilities reach `probability`."""
    rising_RV, order_RV = logits_RV.sort(descending=False)
    drop_RV = rising_RV.softmax(dim=-1).cumsum(dim=-1) <= 1 - probability
    drop_RV[:, -1] = False
    return logits_RV.masked_fill(drop_RV.scatter(1, order_RV, drop_RV), _IMPOSSIBLE)


def mix_logits(logits_with_RV: Tensor, logits_base_RV: Tensor, guidance_R1: Tensor) -> Tensor:
    """Mix two distributions: base + guidance * (with - base), exactly the base's logits at 0, the prefixed ones at 1.

    Classifier-free guidance (Ho & Salimans 2022) on next-token probabilities (Sanchez et al. 2023), with the prefix in
    the place of the prompt. They write log probabilities; these differ from logits by a constant of each row, so that
    the softmax is the same, and raw logits come through 0 and 1 without rounding. Both inputs are finite: guide first,
    shape after.
    """
    return torch.lerp(logits_base_RV, logits_with_RV, guidance_R1.to(logits_base_RV))


def _is_valid_banned_text(text: str) -> bool:
    return bool(text) and "\ufffd" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_value(holds: bool, name: str, wanted: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"{name}: {wanted}", repr(got), f"change {name}")
