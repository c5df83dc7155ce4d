from random import Random

import pytest

from components.builtin.damage import MASK, MASKED_SHARE, damaged

TEXT = " ".join(f"w{number}" for number in range(200))


@pytest.mark.parametrize("seed", range(20))
def test_about_a_third_of_the_words_is_hidden_behind_fewer_masks(seed):
    kept = damaged(TEXT, Random(seed)).split()
    words = [word for word in kept if word != MASK]
    assert set(words) <= set(TEXT.split())
    assert words == sorted(words, key=lambda word: int(word[1:]))
    hidden = 200 - len(words)
    assert MASKED_SHARE * 200 <= hidden < MASKED_SHARE * 200 + 15
    assert 0 < kept.count(MASK) < hidden


def test_sentences_change_places_and_lines_stay_lines():
    lines = [f"#Person{1 + number % 2}#: line {number} is here." for number in range(6)]
    orders = {damaged("\n".join(lines), Random(seed)).count("\n") for seed in range(20)}
    assert max(orders) == 5
    first = {damaged("Ax b c d e. Fx g h i j. Kx l m n o.", Random(seed))[:2] for seed in range(40)}
    assert {"Ax", "Fx", "Kx"} <= first


def test_a_short_text_has_one_mask():
    assert damaged("hello", Random(0)) == MASK
