import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_reports import TEXT_METRICS, scored

from components.config import GateConfig, NonInferiorityConfig
from components.errors import GateError
from components.evaluation.gate import Verdict, judge_candidate, read_verdict, write_verdict
from components.evaluation.report import ReportWithPredictions

WORDS = ("blue", "spice", "is", "a", "cheap", "pub", "near", "the", "river", "in", "city", "centre", "with", "food")


def sentences(number: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 12))) for _ in range(number)]


def spoilt(texts: list[str], share: float, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [" ".join("x" if rng.random() < share else word for word in text.split()) for text in texts]


def non_inferior(metric="bleu", margin=1.0, **values) -> GateConfig:
    rule = NonInferiorityConfig(metric=metric, margin=margin)
    return GateConfig(non_inferiority=[rule], bootstrap_samples=200, **values)


TEXTS = sentences(40)
GOOD, BAD = scored(spoilt(TEXTS, 0.1), TEXTS), scored(spoilt(TEXTS, 0.6), TEXTS)


@settings(max_examples=40, deadline=None)
@given(
    metric=st.sampled_from(TEXT_METRICS),
    margin=st.floats(1e-6, 20),
    seed=st.integers(0, 1000),
    share=st.floats(0, 1),
    number=st.integers(1, 25),
)
def test_a_copy_of_the_champion_always_passes(metric, margin, seed, share, number):
    texts = sentences(number, seed)
    slices = [random.Random(i).choice(["seen", "unseen", None]) for i in range(number)]
    same = scored(spoilt(texts, share, seed), texts, slices)
    verdict = judge_candidate(same, same, non_inferior(metric, margin, min_slice=1), True)
    assert verdict.accepted
    assert {(check.value, check.low, check.high) for check in verdict.checks} == {(0, 0, 0)}


@settings(max_examples=20, deadline=None)
@given(metric=st.sampled_from(TEXT_METRICS), margin=st.floats(0, 5), seed=st.integers(0, 1000))
def test_a_much_worse_candidate_is_rejected_and_the_reverse_is_accepted(metric, margin, seed):
    texts = sentences(30, seed)
    good, bad = scored(texts, texts), scored(spoilt(texts, 0.7, seed), texts)
    assert not judge_candidate(bad, good, non_inferior(metric, margin), True).accepted
    assert judge_candidate(good, bad, non_inferior(metric, margin), True).accepted


@settings(max_examples=20, deadline=None)
@given(
    metric=st.sampled_from(TEXT_METRICS), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 99)
)
def test_exchanging_candidate_and_champion_negates_the_numbers(metric, shares, seed):
    texts = sentences(20, seed)
    one, other = (scored(spoilt(texts, share, number), texts) for number, share in enumerate(shares))
    (first,) = judge_candidate(one, other, non_inferior(metric), True).checks
    (second,) = judge_candidate(other, one, non_inferior(metric), True).checks
    assert (second.value, second.low, second.high) == pytest.approx((-first.value, -first.high, -first.low))


@settings(max_examples=20, deadline=None)
@given(metric=st.sampled_from(TEXT_METRICS), margins=st.tuples(st.floats(0, 60), st.floats(0, 60)))
def test_a_wider_margin_accepts_every_candidate_that_a_narrower_one_accepts(metric, margins):
    narrow, wide = (
        judge_candidate(BAD, GOOD, non_inferior(metric, margin), True).accepted for margin in sorted(margins)
    )
    assert wide or not narrow


def test_a_margin_of_zero_requires_a_significant_improvement():
    assert not judge_candidate(GOOD, GOOD, non_inferior(margin=0), True).accepted
    assert judge_candidate(GOOD, BAD, non_inferior(margin=0), True).accepted


def test_a_loss_on_one_slice_rejects_a_candidate_that_is_better_overall():
    slices = ["seen"] * 30 + ["unseen"] * 10
    champion = scored(spoilt(TEXTS, 0.3), TEXTS, slices)
    candidate = scored(TEXTS[:30] + spoilt(TEXTS[30:], 0.8), TEXTS, slices)
    verdict = judge_candidate(candidate, champion, non_inferior(min_slice=10), True)
    assert {check.slice: check.passed for check in verdict.checks} == {"all": True, "seen": True, "unseen": False}
    assert not verdict.accepted
    assert "slice 'unseen', 10 examples" in verdict.sentence
    assert judge_candidate(candidate, champion, non_inferior(min_slice=11), True).accepted, (
        "a slice below min_slice is not checked"
    )


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_a_floor_accepts_scores_at_or_above_it(metric):
    score = GOOD.report.find_score(metric)
    step = -1 if metric == "ter" else 1
    for threshold, passes in ((score.value, True), (score.value - step, True), (score.value + step, False)):
        (check,) = judge_candidate(GOOD, None, GateConfig(floors={metric: threshold}), True).checks
        assert (check.passed, check.value, check.threshold) == (passes, score.value, threshold)
        assert (check.low, check.high) == (score.low, score.high)


def test_without_a_champion_only_floors_are_checked():
    verdict = judge_candidate(GOOD, None, GateConfig(floors={"bleu": 20.0, "rougeL": 30.0}), True)
    assert verdict.accepted
    assert verdict.champion_digest is None
    assert verdict.sentence == "Accepted: all 2 checks passed; there is no champion to compare with."
    one = judge_candidate(GOOD, None, GateConfig(floors={"bleu": 20.0}), True)
    assert one.sentence == "Accepted: its check passed; there is no champion to compare with."
    assert judge_candidate(GOOD, None, GateConfig(), True).sentence.startswith("Accepted unchecked: no floor is set")


def test_a_rejection_names_the_failed_checks_with_their_numbers():
    verdict = judge_candidate(BAD, GOOD, non_inferior(floors={"bleu": 99.0, "ter": 10.0}), True, champion_version="7")
    assert [(check.name, check.passed) for check in verdict.checks] == [
        ("floor", False),
        ("floor", False),
        ("non-inferiority", False),
    ]
    assert verdict.sentence.startswith("Rejected: 3 of 3 checks failed. BLEU ")
    for part in (
        "is below its floor of 99.",
        "is above its ceiling of 10.",
        "may be worse by the margin of 1 or more.",
    ):
        assert part in verdict.sentence
    assert (verdict.champion_digest, verdict.champion_version) == ("p", "7")


@pytest.mark.parametrize(
    ("champion", "message"),
    [
        (scored(TEXTS, TEXTS, split="validation"), "same split"),
        (scored(TEXTS, TEXTS, num_beams=5), "same decoding"),
        (scored(TEXTS[:30], TEXTS[:30]), "same examples"),
        (scored(TEXTS, sentences(40, 9)), "same examples"),
        (scored(TEXTS, TEXTS, ["seen"] * 40), "same examples"),
        (ReportWithPredictions(GOOD.report.model_copy(update={"tenant": "other"}), GOOD.predictions), "same tenant"),
        (ReportWithPredictions(GOOD.report, GOOD.predictions[:-1]), "the predictions that it was computed from"),
    ],
)
def test_a_champion_that_is_not_comparable_is_refused(champion, message):
    with pytest.raises(GateError, match=message):
        judge_candidate(GOOD, champion, non_inferior(), True)


def test_a_floor_for_a_metric_that_the_report_lacks_is_refused():
    slices = {name: [s for s in scores if s.metric != "ter"] for name, scores in GOOD.report.slices.items()}
    lacking = ReportWithPredictions(GOOD.report.model_copy(update={"slices": slices}), GOOD.predictions)
    with pytest.raises(GateError, match="ter on slice 'all'"):
        judge_candidate(lacking, None, GateConfig(floors={"ter": 50.0}), True)


def test_lowercase_applies_to_the_comparison():
    shouted = ReportWithPredictions(
        GOOD.report, [replace(one, prediction=one.prediction.upper()) for one in GOOD.predictions]
    )
    assert judge_candidate(shouted, GOOD, non_inferior(), True).accepted
    assert not judge_candidate(shouted, GOOD, non_inferior(), False).accepted


def test_a_verdict_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "acme" / "verdict.json"
    verdict = judge_candidate(BAD, GOOD, non_inferior(floors={"bleu": 99.0}), True, champion_version="7")
    write_verdict(path, verdict)
    assert read_verdict(path) == verdict
    assert isinstance(verdict, Verdict)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_damaged_verdict_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "verdict.json"
    path.write_bytes(content)
    with pytest.raises(GateError, match="verdict\\.json"):
        read_verdict(path)
