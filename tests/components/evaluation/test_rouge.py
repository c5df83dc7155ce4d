"""Every F1 is compared with rouge-score's, bit for bit."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from components.evaluation.rouge import compute_rouge_f1

METRICS = ("rouge1", "rouge2", "rougeL")
few_words = st.lists(st.sampled_from(["a", "b", "c", "é", "東京", "\U0001f600"]), max_size=40)
any_words = st.lists(
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1), max_size=12
)


class SplitAtLines:
    """Gives rouge-score the words as they are."""

    def tokenize(self, text: str) -> list[str]:
        return text.split("\n") if text else []


def official(metric: str, words: Sequence[str], targets: Sequence[Sequence[str]]) -> float:
    scorer = RougeScorer([metric], tokenizer=SplitAtLines())
    return scorer.score_multi(["\n".join(one) for one in targets], "\n".join(words))[metric].fmeasure


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=200, deadline=None)
@given(words=few_words | any_words, targets=st.lists(few_words | any_words, min_size=1, max_size=4))
def test_the_f1_is_rouge_scores(metric, words, targets):
    assert compute_rouge_f1(metric, words, targets) == official(metric, words, targets)


@pytest.mark.parametrize("metric", METRICS)
def test_long_texts_have_rouge_scores_f1(metric):
    chooser = random.Random(3)
    words, target = (chooser.choices("abcdefghij", k=length) for length in (400, 300))
    assert 0 < compute_rouge_f1(metric, words, [target]) == official(metric, words, [target]) < 1
