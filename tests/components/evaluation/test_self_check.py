import pytest

from components.errors import GateError
from components.evaluation.metrics import METRICS
from components.evaluation.self_check import require_full_marks


def check(metric, texts, tokenizer, **parts):
    references = [[text] for text in texts]
    require_full_marks(metric, references, parts or {"all": range(len(texts))}, True, tokenizer, "acme")


@pytest.mark.parametrize("metric", METRICS)
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
        with pytest.raises(GateError, match="set chrf, which compares characters"):
            check(metric, texts, tokenizer)
    check("chrf", texts, "13a")
    check("ter", texts, "13a")


def test_every_part_is_checked():
    texts = ["the mill is a cheap pub", "yes"]
    check("bleu", texts, "13a")
    with pytest.raises(GateError, match="1 references of slice 'short'"):
        check("bleu", texts, "13a", all=[0, 1], short=[1])
