"""The choice of next tokens: greedy rows that finish and join, and beams against all texts of a small vocabulary."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from components.model.decoding.controls import LogitsController
from components.model.decoding.options import Decoding
from components.model.decoding.search import BeamSearch, SearchRules, SingleSequenceSearch

EOS, VOCABULARY = 0, 7
CPU = torch.device("cpu")


def make_rules(decoding: Decoding, forced: list[int] | None = None) -> SearchRules:
    controller = LogitsController(decoding, SimpleNamespace(), EOS, VOCABULARY)
    return SearchRules(decoding, controller, EOS, None if forced is None else torch.tensor(forced))


def logits_for(tokens: list[int]) -> Tensor:
    """Logits whose likeliest tokens are these, one per row."""
    return torch.nn.functional.one_hot(torch.tensor(tokens), VOCABULARY).float()


def test_rows_finish_at_the_end_token_or_at_their_limit_and_the_last_rows_fill_their_places() -> None:
    search = SingleSequenceSearch(make_rules(Decoding(1, 9)), [1, 9, 9, 9], [0, 1, 2, 3], CPU)
    step = search.choose_tokens(logits_for([4, 5, EOS, 6]))
    assert list(step.finished) == [(0, [4]), (2, [])]
    assert step.kept_B.tolist() == [3, 1]
    assert step.token_BK.tolist() == [[6], [5]]
    assert step.parent_BK is None
    step = search.choose_tokens(logits_for([EOS, 3]))
    assert list(step.finished) == [(0, [6])]
    search.join(SingleSequenceSearch(make_rules(Decoding(1, 9)), [2], [4], CPU))
    search.choose_tokens(logits_for([2, 1]))
    step = search.choose_tokens(logits_for([EOS, 1]))
    assert list(step.finished) == [(0, [5, 3, 2]), (1, [1, 1])]
    assert step.kept_B.tolist() == []


@pytest.mark.parametrize("forced", [[3], [3, 5]])
def test_a_row_at_its_limit_ends_with_a_forced_token(forced: list[int]) -> None:
    search = SingleSequenceSearch(make_rules(Decoding(1, 9), forced), [2, 9], [0, 1], CPU)
    search.choose_tokens(logits_for([4, 4]))
    step = search.choose_tokens(logits_for([6, 6]))
    assert list(step.finished) == [(0, [4, 3])]
    assert step.token_BK.tolist() == [[6]]


def score_all_texts(table: Tensor, length: int, penalty: float) -> list[tuple[float, list[int]]]:
    """Scores of all texts of at most `length` tokens; `table[i, j]` is the log probability of j after i."""
    scored = []
    for size in range(1, length + 1):
        for text in itertools.product(range(VOCABULARY), repeat=size):
            if EOS in text[:-1] or (text[-1] != EOS and size < length):
                continue
            total = sum(float(table[before, token]) for before, token in zip((EOS, *text), text, strict=False))
            scored.append((total / size**penalty, list(text)))
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_many_beams_find_the_best_of_all_texts(seed: int, penalty: float) -> None:
    beams, length = 60, 3
    table = (2 * torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)
    search = BeamSearch(make_rules(Decoding(beams, length, length_penalty=penalty)), [length], CPU)
    step: Any = search.choose_tokens(table[:1])
    while not step.finished:
        step = search.choose_tokens(table[step.token_BK[0]])
    best = score_all_texts(table, length, penalty)[0][1]
    assert step.finished[0] == (0, [token for token in best if token != EOS])


def test_an_impossible_token_is_never_chosen_by_a_beam() -> None:
    table = torch.zeros(VOCABULARY, VOCABULARY)
    table[:, 3] = -math.inf
    search = BeamSearch(make_rules(Decoding(3, 4, min_new_tokens=4)), [4], CPU)
    step: Any = search.choose_tokens(table[:1])
    while not step.finished:
        assert 3 not in step.token_BK
        step = search.choose_tokens(table[step.token_BK[0]])
    assert 3 not in step.finished[0][1]
