"""BLEU and NIST as the E2E challenge's mteval-v13a-sig.pl computes them: tokens of mteval, ASCII letters lower-cased.

The n-grams of BLEU are sacrebleu's; its score and NIST (Doddington 2002) are implemented here, since sacrebleu and nltk
differ from the script where an order of n-grams is missing or an example has several references. Knows no slices.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from components.evaluation.metrics import compute_sentence_statistics

_ORDERS = range(1, 6)
_BREVITY_BETA = math.log(0.5) / math.log(1.5) ** 2
_LOWERCASE_TABLE = {capital: capital + 32 for capital in range(ord("A"), ord("Z") + 1)}

Words = tuple[str, ...]
Ngrams = Counter[Words]


def compute_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return corpus BLEU-4 in points of 0..100; of two equally close reference lengths the shorter one counts.

    As in the script, the k-th order with n-grams and without a match counts as 1 / 2^k matches, and an order without
    any n-gram counts as right. References without a word are ignored.
    """
    texts = [" ".join(_tokenize(text)) for text in predictions]
    targets = [[" ".join(words) for words in own] or [""] for own in _tokenize_references(references)]
    statistics_NK = compute_sentence_statistics("bleu", texts, targets, lowercase=False, tokenizer="none")
    length, closest, *counts = statistics_NK.sum(axis=0).tolist()
    if not length:
        return 0.0
    halvings, logarithms = 0, 0.0
    for matched, total in zip(counts[:4], counts[4:], strict=True):
        halvings += bool(total) and not matched
        logarithms += math.log((matched or 0.5**halvings) / total) if total else 0.0
    return 100 * math.exp(min(0.0, 1 - closest / length) + logarithms / 4)


def compute_nist(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return corpus NIST-5, also if examples have different numbers of references.

    The reference length of the brevity penalty is the number of examples times the mean length of all references that
    have a word (mteval-v13a-sig.pl: all words / (references with a word / examples)). Ports that use each example's own
    mean length give 8.59 for the E2E baseline; the script gives 8.6094.
    """
    targets = _tokenize_references(references)
    counts: Ngrams = Counter()
    total, reference_count = 0, 0
    for own in targets:
        for words in own:
            counts.update(_count_ngrams(words))
            total += len(words)
            reference_count += 1
    gained, attempted = dict.fromkeys(_ORDERS, 0.0), dict.fromkeys(_ORDERS, 0)
    length = 0
    for text, own in zip(predictions, targets, strict=True):
        words, allowed = _tokenize(text), Counter[Words]()
        for target in own:
            allowed |= _count_ngrams(target)
        for ngram, times in (_count_ngrams(words) & allowed).items():
            gained[len(ngram)] += times * _compute_information(ngram, counts, total)
        for order in _ORDERS:
            attempted[order] += max(0, len(words) - order + 1)
        length += len(words)
    reference_length = len(targets) * total / reference_count if reference_count else 0.0
    return _compute_brevity_penalty(length, reference_length) * sum(
        gained[order] / max(attempted[order], 1) for order in _ORDERS
    )


def _compute_information(ngram: Words, counts: Ngrams, total: int) -> float:
    """Return the information of the last word given the others, in bits: log2(count of the others / count of all)."""
    # In Perl the string "0" is false, so mteval treats the word "0" like an empty history.
    before = counts[ngram[:-1]] if ngram[:-1] not in ((), ("0",)) else total
    return math.log2(before / counts[ngram])


def _compute_brevity_penalty(length: int, reference_length: float) -> float:
    if not length or not reference_length:
        return 0.0
    return math.exp(_BREVITY_BETA * math.log(min(1.0, length / reference_length)) ** 2)


def _tokenize_references(references: Sequence[Sequence[str]]) -> list[list[Words]]:
    return [[words for text in own if (words := _tokenize(text))] for own in references]


def _tokenize(text: str) -> Words:
    return tuple(_make_tokenizer()(" ".join(text.split())).translate(_LOWERCASE_TABLE).split())


@lru_cache(maxsize=1)
def _make_tokenizer() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def _count_ngrams(words: Words) -> Ngrams:
    return Counter(words[start : start + order] for order in _ORDERS for start in range(len(words) - order + 1))
