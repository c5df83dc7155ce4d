"""Corpus metrics as sums of sentence statistics: BLEU, chrF, TER, ROUGE-1/2/L, exact match and JSON validity.

BLEU, TER and ROUGE compare the words of a tokenizer (`components.evaluation.tokenization`); chrF compares characters.

The sentence statistics are computed by sacrebleu (BLEU, chrF, TER), `rouge` (ROUGE) and `whole_texts` (the others).
A corpus score is a function of their sums; it is written here for arrays of sums, so that a thousand bootstrap samples
cost one matrix product. Scores are in points of 0..100 (TER may exceed 100, and is the only metric where lower is
better). Knows no models, files or gates.

Shapes: N sentences, K statistics of a metric, S samples.
    bleu               K = 10: prediction length, closest reference length, matched 1..4-grams, predicted 1..4-grams
    chrf               K = 18: predicted, reference and matched character n-grams, for n = 1..6
    ter                K = 2: edits to the nearest reference (of words of a script without spaces: without shifts),
                       mean reference length in words
    rouge1/rouge2/L    K = 2: best stemmed F1 over the references, 1 (so that sums give the mean)
    exact_match        K = 2: 1 for a prediction that equals a reference, 1
    json_valid         K = 2: 1 for a prediction that is JSON, 1
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from components.config import Metric, Tokenizer
from components.errors import GateError
from components.evaluation.rouge import RougeMetric, compute_rouge_f1
from components.evaluation.tokenization import (
    SEGMENTING_TOKENIZERS,
    load_tokenizer,
    split_rouge_words,
    split_ter_words,
)
from components.evaluation.whole_texts import compute_exact_matches, compute_json_validity

Array = npt.NDArray[np.float64]

METRICS: tuple[Metric, ...] = get_args(Metric)
LOWER_IS_BETTER: frozenset[Metric] = frozenset({"ter"})
METRIC_LABELS: dict[Metric, str] = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "exact_match": "exact match",
    "json_valid": "valid JSON",
}


def compute_sentence_statistics(
    metric: Metric,
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    lowercase: bool,
    tokenizer: Tokenizer = "13a",
) -> Array:
    """Return the statistics [N, K] of each prediction against its references, whose number may vary.

    Texts are compared in Unicode's composed form (NFC): canonically equivalent texts are the same text. `lowercase`
    makes BLEU, chrF and TER case-insensitive; ROUGE always is, exact match never.

    Raises:
        GateError: there are no predictions, an example has no reference, the numbers of predictions and examples
            differ, or the tokenizer is not installed.

    """
    if len(predictions) != len(references) or not predictions or not all(references):
        got = f"{len(predictions)} predictions, {len(references)} sets of references"
        raise GateError("one prediction and at least one reference for each example", got, "decode the split again")
    predictions = [unicodedata.normalize("NFC", text) for text in predictions]
    references = [[unicodedata.normalize("NFC", text) for text in own] for own in references]
    if metric == "ter":
        rows = _compute_ter_rows(predictions, references, lowercase, tokenizer)
    elif metric == "bleu" or metric == "chrf":
        rows = _compute_sacrebleu_rows(metric, predictions, references, lowercase, tokenizer)
    elif metric == "exact_match":
        rows = compute_exact_matches(predictions, references)
    elif metric == "json_valid":
        rows = compute_json_validity(predictions)
    else:
        rows = _compute_rouge_rows(metric, predictions, references, tokenizer)
    return np.array(list(rows), dtype=np.float64)


def compute_corpus_score(metric: Metric, statistics_NK: Array) -> float:
    """Return the score of a corpus in points, equal to that of the metric's own library."""
    return float(compute_scores_from_sums(metric, statistics_NK.sum(axis=0)[None])[0])


def compute_scores_from_sums(metric: Metric, sums_SK: Array) -> Array:
    """Return the scores [S] of corpora, each given by the sums of its sentences' statistics."""
    return _SCORE_FUNCTIONS[metric](sums_SK)


def compute_sentence_scores(metric: Metric, statistics_NK: Array) -> Array:
    """Return the score [N] of each sentence alone, in points.

    BLEU uses only the orders that the prediction has n-grams of (sacrebleu's `effective_order`): a sentence of three
    words has no 4-grams, and would else always get 0.
    """
    if metric != "bleu":
        return compute_scores_from_sums(metric, statistics_NK)
    from sacrebleu.metrics import BLEU

    scores = [
        BLEU.compute_bleu(
            correct=row[2:6].tolist(),
            total=row[6:10].tolist(),
            sys_len=int(row[0]),
            ref_len=int(row[1]),
            smooth_method="exp",
            effective_order=True,
        ).score
        for row in statistics_NK
    ]
    return np.array(scores, dtype=np.float64)


def _compute_sacrebleu_rows(
    metric: Metric,
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    lowercase: bool,
    tokenizer: Tokenizer,
) -> Iterable[Sequence[float]]:
    scorer = _make_sacrebleu_scorer(metric, lowercase, tokenizer)
    # sacrebleu takes one list with the i-th reference of every sentence; None if a sentence has fewer.
    width = max(len(own) for own in references)
    columns = [[own[i] if i < len(own) else None for own in references] for i in range(width)]
    rows: Iterable[Sequence[float]] = scorer._extract_corpus_statistics(list(predictions), columns)
    return rows


def compute_own_statistics(
    metric: Literal["bleu", "chrf"], texts: Sequence[str], lowercase: bool, tokenizer: Tokenizer
) -> Array:
    """Return the statistics [N, K] of texts that are their own first reference: each n-gram is matched.

    They are those of `compute_sentence_statistics`, without a comparison.
    """
    scorer, rows = _make_sacrebleu_scorer(metric, lowercase, tokenizer), list[list[int]]()
    for text in texts:
        words = scorer._preprocess_segment(unicodedata.normalize("NFC", text)).split()
        length = len(words) if metric == "bleu" else len("".join(words))
        counts = [max(length - order, 0) for order in range(4 if metric == "bleu" else 6)]
        rows.append([length, length, *counts, *counts] if metric == "bleu" else [n for n in counts for _ in range(3)])
    return np.array(rows, dtype=np.float64)


def _make_sacrebleu_scorer(metric: Metric, lowercase: bool, tokenizer: Tokenizer) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    if metric == "chrf":
        return CHRF(lowercase=lowercase)
    scorer = BLEU(lowercase=lowercase, tokenize="none", force=True)
    scorer.tokenizer = load_tokenizer(tokenizer)
    return scorer


def _compute_ter_rows(
    predictions: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool, tokenizer: Tokenizer
) -> Iterable[Sequence[float]]:
    from components.evaluation.ter import compute_ter_statistics

    for prediction, own in zip(predictions, references, strict=True):
        targets = [split_ter_words(text, tokenizer, lowercase) for text in own]
        words = split_ter_words(prediction, tokenizer, lowercase)
        yield compute_ter_statistics(words, targets, shifts=tokenizer not in SEGMENTING_TOKENIZERS)


def _compute_rouge_rows(
    metric: RougeMetric, predictions: Sequence[str], references: Sequence[Sequence[str]], tokenizer: Tokenizer
) -> Iterable[Sequence[float]]:
    for prediction, own in zip(predictions, references, strict=True):
        targets = [_split_rouge_words(text, tokenizer) for text in own]
        yield compute_rouge_f1(metric, _split_rouge_words(prediction, tokenizer), targets), 1.0


@lru_cache(maxsize=2**14)
def _split_rouge_words(text: str, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Cached, since three metrics split the same texts."""
    return tuple(split_rouge_words(text, tokenizer))


def _score_bleu(sums_SK: Array) -> Array:
    """Compute BLEU-4 with sacrebleu's `exp` smoothing: the k-th order without a match counts as 1 / 2^k matches."""
    length_S, closest_S, matched_S4, total_S4 = sums_SK[:, 0], sums_SK[:, 1], sums_SK[:, 2:6], sums_SK[:, 6:10]
    unmatched_S4 = matched_S4 == 0
    smoothed_S4 = np.where(unmatched_S4, 0.5 ** np.cumsum(unmatched_S4, axis=1), matched_S4)
    valid_S = (matched_S4.sum(axis=1) > 0) & (total_S4 > 0).all(axis=1)
    precision_S4 = smoothed_S4 / np.maximum(total_S4, 1)
    brevity_S = np.minimum(1.0, np.exp(1 - closest_S / np.maximum(length_S, 1)))
    return np.where(valid_S, 100 * brevity_S * np.exp(np.log(precision_S4).mean(axis=1)), 0.0)


def _score_chrf(sums_SK: Array) -> Array:
    """Compute chrF2: F-beta of the mean precision and recall over the orders that both texts have n-grams of."""
    predicted_S6, reference_S6, matched_S6 = sums_SK[:, 0::3], sums_SK[:, 1::3], sums_SK[:, 2::3]
    both_S6 = (predicted_S6 > 0) & (reference_S6 > 0)
    orders_S = np.maximum(both_S6.sum(axis=1), 1)
    precision_S = (both_S6 * matched_S6 / np.maximum(predicted_S6, 1)).sum(axis=1) / orders_S
    recall_S = (both_S6 * matched_S6 / np.maximum(reference_S6, 1)).sum(axis=1) / orders_S
    weighted_S = 4 * precision_S + recall_S
    score_S: Array = 500 * precision_S * recall_S / np.where(weighted_S > 0, weighted_S, 1.0)
    return score_S


def _score_ter(sums_SK: Array) -> Array:
    """Compute edits per reference word; if the references are empty, any edit gives 100."""
    edits_S, words_S = sums_SK[:, 0], sums_SK[:, 1]
    rate_S: Array = np.where(words_S > 0, edits_S / np.where(words_S > 0, words_S, 1.0), edits_S > 0)
    return 100 * rate_S


def _score_mean(sums_SK: Array) -> Array:
    mean_S: Array = 100 * sums_SK[:, 0] / sums_SK[:, 1]
    return mean_S


_SCORE_FUNCTIONS: dict[Metric, Callable[[Array], Array]] = {
    "bleu": _score_bleu,
    "chrf": _score_chrf,
    "ter": _score_ter,
    "rouge1": _score_mean,
    "rouge2": _score_mean,
    "rougeL": _score_mean,
    "exact_match": _score_mean,
    "json_valid": _score_mean,
}
