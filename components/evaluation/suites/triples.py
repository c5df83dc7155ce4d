"""The metrics of WebNLG 2017 and of DART, as the scripts in github.com/Yale-LILY/dart/evaluation compute them.

The Prefix-Tuning authors used these scripts; their WebNLG part is the challenge's own evaluation. Both score text that
is lower-cased and split at every character that is not a letter, digit or underscore; WebNLG's is also folded to ASCII.

    WebNLG   BLEU multi-bleu.perl, METEOR 1.5 -norm, TER tercom 0.7.25, on an example's first three references
    DART     BLEU multi-bleu.perl on the first three references; METEOR and TER on the first only, since its
             prepare_files.py writes no others

multi-bleu.perl does not smooth, and treats a missing reference as an empty one when it selects the closest length; so
does this module. It uses other libraries: sacrebleu for n-grams and for tercom's search (with a beam of 25 instead of
20), and text-unidecode instead of Unidecode.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from components.evaluation.suites import meteor
from components.evaluation.suites.suite import ExampleIndices, ScoreFunction, Suite
from components.evaluation.ter import compute_ter_statistics

_MAX_REFERENCES = 3
_NON_WORD = re.compile(r"(\W)")


def split_words(text: str) -> str:
    """Return the text lower-cased, with spaces around every character that is not a letter, digit or underscore."""
    return " ".join(" ".join(_NON_WORD.split(text.lower())).split())


def split_ascii_words(text: str) -> str:
    """Return `split_words` of the text folded to ASCII."""
    from text_unidecode import unidecode

    return " ".join(split_words(unidecode(text)).split())


def compute_multi_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return BLEU-4 in points of tokenized texts, as multi-bleu.perl does with three reference files."""
    from sacrebleu.metrics import BLEU

    scorer = BLEU(tokenize="none", smooth_method="none", force=True)
    columns = [[own[index] if index < len(own) else "" for own in references] for index in range(_MAX_REFERENCES)]
    return float(scorer.corpus_score(list(predictions), columns).score)


def _make_score_function(fold: Callable[[str], str], edit_references: int) -> ScoreFunction:
    def compute_scores(
        wanted: Collection[str],
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[ExampleIndices],
    ) -> Mapping[str, list[float]]:
        texts = [fold(text) for text in predictions]
        targets = [[fold(text) for text in own[:_MAX_REFERENCES]] for own in references]
        few = [own[:edit_references] for own in targets]
        values: dict[str, list[float]] = {}
        if "bleu" in wanted:
            values["bleu"] = [
                compute_multi_bleu([texts[row] for row in rows], [targets[row] for row in rows]) for rows in groups
            ]
        if "meteor" in wanted:
            values["meteor"] = meteor.compute_scores(texts, few, groups)
        if "ter" in wanted:
            values["ter"] = _compute_ter(texts, few, groups)
        return values

    return compute_scores


def _compute_ter(
    texts: Sequence[str], targets: Sequence[Sequence[str]], groups: Sequence[ExampleIndices]
) -> list[float]:
    """Return, for each group, the edits to the nearest references over the references' mean lengths, both summed."""
    statistics = [
        compute_ter_statistics(text.split(), [target.split() for target in own])
        for text, own in zip(texts, targets, strict=True)
    ]
    rates = []
    for rows in groups:
        edits, words = (sum(column) for column in zip(*(statistics[row] for row in rows), strict=True))
        rates.append(edits / words if words else float(edits > 0))
    return rates


def _make_variants(fold: str, references: str) -> dict[str, str]:
    return {
        "bleu": f"multi-bleu, {fold}, first three references, in points",
        "meteor": f"METEOR 1.5 -norm, {fold}, {references}",
        "ter": f"tercom's, {fold}, {references}",
    }


_JAVA_METRICS, _POINT_METRICS = frozenset({"meteor"}), frozenset({"bleu"})
WEBNLG = Suite(
    "webnlg",
    _make_variants("lower-cased, split, ASCII", "first three references"),
    _JAVA_METRICS,
    _POINT_METRICS,
    _make_score_function(split_ascii_words, _MAX_REFERENCES),
)
DART = Suite(
    "dart",
    _make_variants("lower-cased, split", "first reference"),
    _JAVA_METRICS,
    _POINT_METRICS,
    _make_score_function(split_words, 1),
)
