import csv
import io
import os
import random
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER
from scored_reports import TEXT_METRICS

from components.errors import GateError
from components.evaluation.metrics import (
    compute_corpus_score,
    compute_scores_from_sums,
    compute_sentence_scores,
    compute_sentence_statistics,
)

TEXT = "the a Blue Spice pub riverside is in near cheap, food. family-friendly Éclair 'quoted' 12.5 £20 running ran"
WORDS = TEXT.split()


def texts(least: int = 0) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(WORDS), min_size=least, max_size=12).map(" ".join)


corpora = st.lists(st.tuples(texts(), st.lists(texts(1), min_size=1, max_size=4)), min_size=1, max_size=6)


def official(metric: str, predictions: list[str], references: list[list[str]], lowercase: bool) -> float:
    if metric.startswith("rouge"):
        scorer = RougeScorer([metric], use_stemmer=True)
        scores = [scorer.score_multi(own, text)[metric] for own, text in zip(references, predictions, strict=True)]
        return 100 * sum(score.fmeasure for score in scores) / len(scores)
    width = max(map(len, references))
    columns = [[own[i] if i < len(own) else None for own in references] for i in range(width)]
    scorer = {"bleu": BLEU(lowercase=lowercase), "chrf": CHRF(lowercase=lowercase)}.get(metric)
    return (scorer or TER(case_sensitive=not lowercase)).corpus_score(predictions, columns).score


@pytest.mark.parametrize("metric", TEXT_METRICS)
@settings(max_examples=60, deadline=None)
@given(corpus=corpora, lowercase=st.booleans())
def test_corpus_scores_equal_those_of_the_official_libraries(metric, corpus, lowercase):
    predictions, references = [one for one, _ in corpus], [own for _, own in corpus]
    ours = compute_corpus_score(metric, compute_sentence_statistics(metric, predictions, references, lowercase))
    assert ours == pytest.approx(official(metric, predictions, references, lowercase), rel=1e-12, abs=1e-12)


def test_ter_of_long_sentences_equals_the_official_one():
    """Beyond sacrebleu's limits: a beam of 25 words, shifts of at most 10 words, 1000 candidates."""
    rng, length = random.Random(3), 30
    words = [rng.choice("abcdefghijklmnop") for _ in range(length)]
    moved = words[length // 2 :] + words[: length // 2]
    looped = ["a", "b"] * length
    shuffled = rng.sample(words, length)
    references = [[" ".join(words), " ".join(words[:7])]] * 3
    predictions = [" ".join(text) for text in (moved, looped, shuffled)]
    ours = compute_corpus_score("ter", compute_sentence_statistics("ter", predictions, references, True))
    assert ours == pytest.approx(official("ter", predictions, references, True), rel=1e-12)


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_a_perfect_and_an_empty_corpus_have_the_best_and_the_worst_score(metric):
    references = [["Blue Spice is a cheap pub in the centre ."], ["The mill is near the river side , not far ."]]
    perfect = compute_corpus_score(
        metric, compute_sentence_statistics(metric, [own[0] for own in references], references, False)
    )
    nothing = compute_corpus_score(metric, compute_sentence_statistics(metric, ["", ""], references, False))
    assert (perfect, nothing) == pytest.approx((0, 100) if metric == "ter" else (100, 0))


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_many_sums_are_scored_like_single_corpora(metric):
    rng = random.Random(5)
    predictions = [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(12)]
    references = [[" ".join(rng.choices(WORDS, k=rng.randint(1, 9)))] for _ in range(12)]
    statistics_NK = compute_sentence_statistics(metric, predictions, references, True)
    counts_SN = np.random.default_rng(0).integers(0, 3, size=(20, 12)).astype(float)
    together = compute_scores_from_sums(metric, counts_SN @ statistics_NK)
    repeated = [compute_corpus_score(metric, np.repeat(statistics_NK, row.astype(int), axis=0)) for row in counts_SN]
    assert together == pytest.approx(repeated)


@pytest.mark.parametrize("metric", TEXT_METRICS)
@pytest.mark.parametrize(
    ("text", "tokenizer"), [("Một quán cà phê ở Hà Nội", "13a"), ("서울의 공원에서 산책을 하다", "ko-mecab")]
)
def test_composed_and_decomposed_letters_are_the_same(metric, text, tokenizer):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert composed != decomposed
    for prediction, reference in ((composed, decomposed), (decomposed, composed)):
        statistics_NK = compute_sentence_statistics(metric, [prediction], [[reference]], True, tokenizer)
        assert compute_corpus_score(metric, statistics_NK) == pytest.approx(0 if metric == "ter" else 100)


def test_lowercase_ignores_case():
    references = [["Blue Spice is a Pub in the Centre"]]
    for metric in ("bleu", "chrf"):
        kept, lowered = (
            compute_corpus_score(
                metric, compute_sentence_statistics(metric, ["blue spice is a pub in the centre"], references, case)
            )
            for case in (False, True)
        )
        assert kept < lowered == pytest.approx(100)


@pytest.mark.parametrize(("predictions", "references"), [([], []), (["a"], []), (["a"], [[]])])
def test_texts_without_references_are_refused(predictions, references):
    with pytest.raises(GateError, match="one prediction"):
        compute_sentence_statistics("bleu", predictions, references, True)


def test_the_published_bleu_of_tgen_on_e2e():
    """Dušek et al. 2018 give 65.93 for their baseline's outputs on the 630 test inputs of E2E."""
    folder = os.environ.get("PREFIXFLEET_TEST_DATA")
    if not folder:
        pytest.skip("PREFIXFLEET_TEST_DATA does not name a folder with e2e-dataset.zip and e2e-tgen-outputs/")
    with zipfile.ZipFile(Path(folder) / "e2e-dataset.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith("testset_w_refs.csv"))
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open(name), encoding="utf-8")))
    references: dict[str, list[str]] = {}
    for row in rows:
        references.setdefault(row["mr"], []).append(row["ref"])
    with (Path(folder) / "e2e-tgen-outputs" / "tgen.tsv").open(encoding="utf-8", newline="") as file:
        outputs = {row["MR"]: row["output"] for row in csv.DictReader(file, delimiter="\t")}
    statistics_NK = compute_sentence_statistics(
        "bleu", [outputs[mr] for mr in references], list(references.values()), True
    )
    assert (len(references), round(compute_corpus_score("bleu", statistics_NK), 2)) == (630, 65.93)


@given(texts(), st.lists(texts(1), min_size=1, max_size=3))
def test_a_sentence_s_bleu_is_sacrebleu_s(prediction, references):
    statistics = compute_sentence_statistics("bleu", [prediction], [references], lowercase=True)
    expected = BLEU(lowercase=True, effective_order=True).sentence_score(prediction, references).score
    assert compute_sentence_scores("bleu", statistics).tolist() == pytest.approx([expected])


def test_a_sentence_s_other_scores_are_those_of_a_corpus_of_one():
    statistics = compute_sentence_statistics("chrf", ["a red boat", "no"], [["the red boat"], ["no"]], lowercase=True)
    scores = compute_sentence_scores("chrf", statistics)
    assert scores.tolist() == [compute_corpus_score("chrf", statistics[:1]), 100.0]
