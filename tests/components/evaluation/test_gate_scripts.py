"""The gate sees texts of every script: it rejects or refuses unrelated texts, whatever the tenant's language."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_reports import TEXT_METRICS, scored

from components.config import GateConfig, NonInferiorityConfig
from components.errors import GateError
from components.evaluation.gate import judge_candidate
from components.evaluation.report import Prediction, ReportWithPredictions

RANGES = {
    "chinese": (0x4E00, 0x9FA5, ""),
    "hiragana": (0x3042, 0x3093, ""),
    "hangul": (0xAC00, 0xD7A3, " "),
    "thai": (0x0E01, 0x0E2E, ""),
    "lao": (0x0E81, 0x0E82, ""),
    "khmer": (0x1780, 0x17A2, ""),
    "burmese": (0x1000, 0x1020, ""),
    "cyrillic": (0x0430, 0x044F, " "),
    "arabic": (0x0627, 0x064A, " "),
    "hebrew": (0x05D0, 0x05EA, " "),
    "devanagari": (0x0905, 0x0939, " "),
    "greek": (0x03B1, 0x03C9, " "),
    "georgian": (0x10D0, 0x10F0, " "),
    "latin": (0x61, 0x7A, " "),
    "digits": (0x30, 0x39, " "),
    "emoji": (0x1F600, 0x1F64F, ""),
    "punctuation": (0x21, 0x2F, ""),
}


def is_accepted(candidate, champion, config=None) -> bool:
    try:
        return judge_candidate(candidate, champion, config or GateConfig(bootstrap_samples=100), True).accepted
    except GateError:
        return False


@settings(max_examples=60, deadline=None)
@given(
    script=st.sampled_from(sorted(RANGES)),
    words=st.integers(1, 9),
    number=st.integers(1, 30),
    metric=st.sampled_from(TEXT_METRICS),
    garbage=st.sampled_from(["乱码", "x", "?", "", "same script"]),
    seed=st.integers(0, 1000),
)
def test_unrelated_texts_are_never_accepted_against_a_perfect_champion(script, words, number, metric, garbage, seed):
    first, last, space = RANGES[script]
    rng = random.Random(seed)

    def write(alphabet: range) -> str:
        return space.join("".join(chr(rng.choice(alphabet)) for _ in range(3)) for _ in range(words))

    middle = (first + last) // 2 + 1
    references = [write(range(first, middle)) for _ in range(number)]
    bad = [write(range(middle, last + 1)) if garbage == "same script" else garbage for _ in references]
    config = GateConfig(non_inferiority=[NonInferiorityConfig(metric=metric)], bootstrap_samples=100)
    assert not is_accepted(scored(bad, references), scored(references, references), config)


@pytest.mark.parametrize("script", sorted(set(RANGES) - {"lao"}))
def test_texts_of_every_script_reach_full_marks(script):
    first, last, space = RANGES[script]
    rng = random.Random(1)
    texts = [space.join("".join(chr(rng.randint(first, last)) for _ in range(3)) for _ in range(6)) for _ in range(24)]
    verdict = judge_candidate(scored(texts, texts), None, GateConfig(floors={"bleu": 99.9, "ter": 0.0}), True)
    assert verdict.accepted
    assert not is_accepted(scored(["乱码"] * 24, texts), scored(texts, texts))


def test_garbage_in_chinese_is_rejected_with_its_numbers():
    texts = [f"第{number}家餐厅在河边，价格便宜。" for number in range(40)]
    champion = scored(texts, texts)
    assert champion.report.tokenizer == "zh"
    assert champion.report.find_score("bleu").value == pytest.approx(100)
    config = GateConfig(non_inferiority=[NonInferiorityConfig(margin=3.0)])
    verdict = judge_candidate(scored(["乱码"] * 40, texts), champion, config, True)
    assert "BLEU differs from the champion's by -100.00" in verdict.sentence


def test_letters_count_where_references_have_digits():
    texts = [f"Кафе номер {number} стоит у реки" for number in range(30)]
    spoilt = [f"xx yy {number} zz" for number in range(30)]
    config = GateConfig(non_inferiority=[NonInferiorityConfig(metric="rougeL")])
    assert not is_accepted(scored(spoilt, texts), scored(texts, texts), config)


def test_a_metric_that_cannot_see_the_texts_is_refused_even_without_a_champion():
    texts = ["positive", "negative", "neutral"] * 10
    with pytest.raises(GateError, match="BLEU needs texts of four words"):
        judge_candidate(scored(texts, texts), None, GateConfig(), True)
    on_characters = GateConfig(non_inferiority=[NonInferiorityConfig(metric="chrf")])
    assert judge_candidate(scored(texts, texts), None, on_characters, True).accepted


def test_a_short_slice_that_is_gated_must_be_seen_too():
    texts = ["the mill is a cheap pub by the river"] * 20 + ["yes"] * 20
    one = scored(texts, texts)
    slices = ["long"] * 20 + ["short"] * 20
    labelled = [
        Prediction(each.source, each.references, name, each.prediction)
        for each, name in zip(one.predictions, slices, strict=True)
    ]
    candidate = ReportWithPredictions(one.report, labelled)
    with pytest.raises(GateError, match="slice 'short'"):
        judge_candidate(candidate, None, GateConfig(), True)
    assert judge_candidate(candidate, None, GateConfig(min_slice=21), True).accepted


def test_another_tokenizer_of_the_champion_is_refused():
    texts = [f"Кафе номер {number} стоит у реки" for number in range(30)]
    with pytest.raises(GateError, match="same tokenizer for candidate and champion"):
        judge_candidate(scored(texts, texts), scored(texts, texts, tokenize="13a"), GateConfig(), True)


def test_a_report_of_an_earlier_release_is_judged_by_the_scripts_of_its_references():
    texts = [f"第{number}家餐厅在河边，价格便宜。" for number in range(30)]
    old = scored(texts, texts)
    old = ReportWithPredictions(old.report.model_copy(update={"tokenizer": None}), old.predictions)
    assert not is_accepted(scored(["乱码"] * 30, texts), old)


@pytest.mark.parametrize("margin", [1.0, 20.0, 200.0])
def test_one_example_shows_no_confidence(margin):
    reference = "The Mill is a cheap pub near the river in the city centre ."
    champion, worse = scored([reference], [reference]), scored(["The Mill is a pub near the river ."], [reference])
    config = GateConfig(non_inferiority=[NonInferiorityConfig(margin=margin)])
    verdict = judge_candidate(worse, champion, config, True)
    assert not verdict.accepted
    assert "on 1 example, too few for an interval (gate.min_slice: 20)" in verdict.sentence
    assert "confidence:" not in verdict.sentence
    assert [(check.low, check.high) for check in verdict.checks] == [(None, None)]
    assert judge_candidate(champion, champion, config, True).accepted
    assert judge_candidate(champion, worse, config, True).accepted
    ter = GateConfig(non_inferiority=[NonInferiorityConfig(metric="ter", margin=margin)])
    assert not judge_candidate(worse, champion, ter, True).accepted
    assert judge_candidate(champion, worse, ter, True).accepted


def test_a_small_split_is_told_in_the_verdict():
    texts = [f"The Mill number {number} is a cheap pub near the river" for number in range(11)]
    verdict = judge_candidate(scored(texts, texts), None, GateConfig(floors={"bleu": 50.0}), True)
    assert verdict.accepted
    assert verdict.sentence.endswith(
        "The test split has 11 examples, fewer than gate.min_slice (20): too few to state a confidence."
    )
    assert [(check.low, check.high) for check in verdict.checks] == [(None, None)]
    enough = judge_candidate(scored(texts, texts), None, GateConfig(floors={"bleu": 50.0}, min_slice=11), True)
    assert "fewer" not in enough.sentence
