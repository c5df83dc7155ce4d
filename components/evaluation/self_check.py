"""Whether a metric can see a tenant's texts: references scored against themselves must get the best possible score.

BLEU of texts without four words, ROUGE of texts without letters, or a word metric with the wrong tokenizer gives less;
a comparison by such a metric says nothing. Knows texts and metrics; does not know reports or the gate's rules.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from components.config import Metric, Tokenizer
from components.errors import GateError
from components.evaluation.metrics import (
    LOWER_IS_BETTER,
    METRIC_LABELS,
    Array,
    compute_corpus_score,
    compute_own_statistics,
)
from components.evaluation.tokenization import resolve_tokenizer, split_rouge_words
from components.evaluation.whole_texts import compute_json_validity

_TOLERANCE = 1e-6
_MAX_SHOWN_CHARS = 40
_NEEDS: dict[Metric, str] = {
    "bleu": "BLEU needs texts of four words",
    "rouge1": "ROUGE-1 needs words with letters or digits",
    "rouge2": "ROUGE-2 needs two words in each text",
    "rougeL": "ROUGE-L needs words with letters or digits",
    "json_valid": "valid JSON needs references that are JSON objects or arrays",
}


def compute_reference_statistics(
    metric: Metric, references: Sequence[Sequence[str]], lowercase: bool, tokenizer: Tokenizer
) -> Array:
    """Return the statistics [N, K] of each example's first reference against all of its references.

    They are known without comparing: no edits, each n-gram is matched, and full marks of ROUGE for a text that has the
    n-grams.
    """
    if metric == "exact_match":
        return np.array([(1.0, 1.0)] * len(references))
    if metric == "json_valid":
        return np.array(list(compute_json_validity([own[0] for own in references])))
    if metric == "ter":
        return np.array([(0.0, 1.0)] * len(references))
    if metric == "bleu" or metric == "chrf":
        return compute_own_statistics(metric, [own[0] for own in references], lowercase, tokenizer)
    least = 2 if metric == "rouge2" else 1
    return np.array([(float(len(split_rouge_words(own[0], tokenizer)) >= least), 1.0) for own in references])


def has_full_marks(metric: Metric, score: float) -> bool:
    """Return whether a score is the metric's best: 100, or 0 for TER."""
    return abs(score - get_best_score(metric)) < _TOLERANCE


def get_best_score(metric: Metric) -> float:
    """Return the score of a perfect prediction, in points."""
    return 0.0 if metric in LOWER_IS_BETTER else 100.0


def require_full_marks(
    metric: Metric,
    references: Sequence[Sequence[str]],
    parts: Mapping[str, Sequence[int]],
    lowercase: bool,
    tokenizer: Tokenizer,
    tenant: str,
) -> None:
    """Check that the metric gives the references of each part (name -> example indices) its best score.

    Raises:
        GateError: it does not; or the tokenizer is not installed.

    """
    statistics_NK = compute_reference_statistics(metric, references, lowercase, tokenizer)
    for name, rows in parts.items():
        score = compute_corpus_score(metric, statistics_NK[list(rows)])
        if not has_full_marks(metric, score):
            texts = [references[row] for row in rows]
            best = f"{METRIC_LABELS[metric]} {get_best_score(metric):g}"
            wanted = f"{best} for {tenant}'s references scored against themselves"
            got = f"{score:.2f} with tokenizer {tokenizer} on {len(rows)} references of slice {name!r}"
            if need := _NEEDS.get(metric):
                got += f" ({need}{_name_first(metric, statistics_NK[list(rows)], texts)})"
            found = resolve_tokenizer("auto", (text for own in references for text in own))
            raise GateError(wanted, got, _suggest_fix(metric, texts, lowercase, tokenizer, found))


def _name_first(metric: Metric, statistics_NK: Array, references: Sequence[Sequence[str]]) -> str:
    """Name the first text that ROUGE cannot see; BLEU is computed from all texts together."""
    if metric == "bleu":
        return ""
    text = references[int(np.argmin(statistics_NK[:, 0]))][0]
    return f"; the first without is {text if len(text) <= _MAX_SHOWN_CHARS else f'{text[:_MAX_SHOWN_CHARS]}...'!r}"


def _suggest_fix(
    metric: Metric, references: Sequence[Sequence[str]], lowercase: bool, tokenizer: Tokenizer, found: Tokenizer
) -> str:
    """Suggest the tokenizer that `auto` finds for the tenant if it is another one and helps; else chrF."""
    if found != tokenizer:
        statistics_NK = compute_reference_statistics(metric, references, lowercase, found)
        if has_full_marks(metric, compute_corpus_score(metric, statistics_NK)):
            return f"set evaluate.tokenize: {found} (or auto) for this tenant"
    if metric == "json_valid":
        return "remove json_valid from this tenant's gate, or correct the references"
    gate = f"gate: {{floors: {{{metric}: null, chrf: 40}}, non_inferiority: [{{metric: chrf, margin: 3}}]}}"
    return f"use chrf, which compares characters, for this tenant, such as {gate} (and `tune --metric chrf`)"
