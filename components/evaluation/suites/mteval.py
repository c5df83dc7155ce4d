"""BLEU and NIST as NIST's mteval-v13a.pl computes them: with its tokenization, ASCII letters lower-cased.

BLEU is sacrebleu's, which has the same tokenization and smoothing. NIST (Doddington 2002) is implemented here: nltk's
uses the best single reference for each order of n-gram, mteval all references of an example together. Knows no slices.
"""

import math
from collections import Counter
from collections.abc import Sequence

from components.evaluation.metrics import compute_corpus_score, compute_sentence_statistics

_ORDERS = range(1, 6)
_BREVITY_BETA = math.log(0.5) / math.log(1.5) ** 2
_LOWERCASE_TABLE = {capital: capital + 32 for capital in range(ord("A"), ord("Z") + 1)}

Words = tuple[str, ...]
Ngrams = Counter[Words]


def compute_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return corpus BLEU-4 in points of 0..100; of two equally close reference lengths the shorter one counts."""
    lowered = [[text.translate(_LOWERCASE_TABLE) for text in own] for own in references]
    texts = [text.translate(_LOWERCASE_TABLE) for text in predictions]
    return compute_corpus_score("bleu", compute_sentence_statistics("bleu", texts, lowered, lowercase=False))


def compute_nist(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return corpus NIST-5 as mteval-v13a.pl does, also if examples have different numbers of references.

    The script needs the same number of references for each example, so the official E2E script adds empty ones. The
    mean reference length in the brevity penalty is then the sum of all lengths over the largest number of references.
    (Python ports use each example's own mean length and give 8.59 for the E2E baseline; Perl gives 8.61.)
    """
    targets = [[_tokenize(text) for text in own] for own in references]
    counts: Ngrams = Counter()
    total = 0
    for own in targets:
        for words in own:
            counts.update(_count_ngrams(words))
            total += len(words)
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
    mean_length = total / max(map(len, targets))
    return _compute_brevity_penalty(length, mean_length) * sum(
        gained[order] / max(attempted[order], 1) for order in _ORDERS
    )


def _compute_information(ngram: Words, counts: Ngrams, total: int) -> float:
    """Return the information of the last word given the others, in bits: log2(count of the others / count of all)."""
    # In Perl the string "0" is false, so mteval treats the word "0" like an empty history.
    before = counts[ngram[:-1]] if ngram[:-1] not in ((), ("0",)) else total
    return math.log2(before / counts[ngram])


def _compute_brevity_penalty(length: int, mean_length: float) -> float:
    if not length or not mean_length:
        return 0.0
    return math.exp(_BREVITY_BETA * math.log(min(1.0, length / mean_length)) ** 2)


def _tokenize(text: str) -> Words:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return tuple(Tokenizer13a()(text.translate(_LOWERCASE_TABLE)).split())


def _count_ngrams(words: Words) -> Ngrams:
    return Counter(words[start : start + order] for order in _ORDERS for start in range(len(words) - order + 1))
