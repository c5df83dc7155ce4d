import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_reports import TEXT_METRICS

from components.errors import GateError
from components.evaluation.metrics import compute_corpus_score, compute_sentence_statistics
from components.evaluation.self_check import compute_reference_statistics, require_full_marks


def check(metric, texts, tokenizer, **parts):
    references = [[text] for text in texts]
    require_full_marks(metric, references, parts or {"all": range(len(texts))}, True, tokenizer, "acme")


TEXTS = st.text(st.sampled_from("aAb c  1ée\u0301漢あ🙂?."), min_size=1, max_size=20).filter(str.strip)


@settings(max_examples=100, deadline=None)
@given(
    metric=st.sampled_from(TEXT_METRICS),
    references=st.lists(st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=4),
    tokenizer=st.sampled_from(["13a", "intl", "zh", "char"]),
)
def test_the_score_of_the_references_is_that_of_the_metric(metric, references, tokenizer):
    first = [own[0] for own in references]
    full = compute_sentence_statistics(metric, first, references, True, tokenizer)
    known = compute_reference_statistics(metric, references, True, tokenizer)
    assert compute_corpus_score(metric, known) == pytest.approx(compute_corpus_score(metric, full))
    assert metric not in ("bleu", "chrf") or known.tolist() == full.tolist()


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_a_metric_that_sees_the_texts_passes(metric):
    check(metric, ["The mill is a pub.", "Вход свободен с 9 утра."], "intl")
    check(metric, ["我喜欢猫和狗。", "他喜欢茶。"], "zh")


def test_a_wrong_tokenizer_is_named_with_the_right_one():
    with pytest.raises(GateError) as problem:
        check("bleu", ["我喜欢猫和狗。", "他喜欢茶。"], "13a")
    assert str(problem.value) == (
        "wanted BLEU 100 for acme's references scored against themselves; got 0.00 with tokenizer 13a on 2 references "
        "of slice 'all' (BLEU needs texts of four words); set evaluate.tokenize: zh (or auto) for this tenant"
    )


@pytest.mark.parametrize(
    ("metric", "texts"),
    [
        ("bleu", ["positive", "negative", "neutral"]),
        ("rouge2", ["positive", "a longer text"]),
        ("rougeL", ["🙂👍", "a text"]),
        ("rouge1", ["?!", "..."]),
    ],
)
def test_texts_that_a_metric_cannot_see_are_refused_with_another_metric(metric, texts):
    for tokenizer in ("13a", "intl"):
        with pytest.raises(GateError, match="use chrf, which compares characters"):
            check(metric, texts, tokenizer)
    check("chrf", texts, "13a")
    check("ter", texts, "13a")


def test_the_first_text_that_rouge_cannot_see_is_named():
    with pytest.raises(GateError, match=r"33.33 .* on 3 references .* letters or digits; the first without is '🙂'\)"):
        check("rougeL", ["a text", "🙂", "?"], "13a")


def test_every_part_is_checked():
    texts = ["the mill is a cheap pub", "yes"]
    check("bleu", texts, "13a")
    with pytest.raises(GateError, match="1 references of slice 'short'"):
        check("bleu", texts, "13a", all=[0, 1], short=[1])
