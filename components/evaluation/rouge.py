"""ROUGE-1, ROUGE-2 and ROUGE-L of one example (Lin 2004): the F1 of a prediction's words with the best reference.

Gives exactly the F1 of rouge-score, in a fraction of its time. Knows words; does not know texts, tokenizers or corpora.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

RougeMetric = Literal["rouge1", "rouge2", "rougeL"]

_Words = Sequence[str]


def compute_rouge_f1(metric: RougeMetric, words: _Words, targets: Sequence[_Words]) -> float:
    """Return the highest F1 of a prediction's words with any of the targets, 0..1."""
    if metric == "rougeL":
        return max(_compute_f1(_count_common_subsequence(words, one), len(words), len(one)) for one in targets)
    size = 1 if metric == "rouge1" else 2
    own = _count_ngrams(words, size)
    return max(_compute_ngram_f1(own, _count_ngrams(one, size)) for one in targets)


def _count_ngrams(words: _Words, size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))


def _compute_ngram_f1(own: Counter[tuple[str, ...]], others: Counter[tuple[str, ...]]) -> float:
    few, many = sorted((own, others), key=len)
    hits = sum(min(count, many[ngram]) for ngram, count in few.items() if ngram in many)
    return _compute_f1(hits, own.total(), others.total())


def _count_common_subsequence(words: _Words, target: _Words) -> int:
    """Return the length of the longest common subsequence.

    By Hyyrö's bit vectors (2004, "Bit-parallel LCS-length computation revisited"): a row of the table is one integer,
    with a 0 at each of the target's positions where the length rises.
    """
    positions: dict[str, int] = {}
    for position, word in enumerate(target):
        positions[word] = positions.get(word, 0) | 1 << position
    everything = flat = (1 << len(target)) - 1
    for word in words:
        matches = flat & positions.get(word, 0)
        flat = (flat + matches | flat - matches) & everything
    return len(target) - flat.bit_count()


def _compute_f1(hits: int, predicted: int, wanted: int) -> float:
    if not hits:
        return 0.0
    precision, recall = hits / predicted, hits / wanted
    return 2 * precision * recall / (precision + recall)
