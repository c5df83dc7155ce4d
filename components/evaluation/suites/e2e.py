"""The E2E NLG Challenge's metrics, as github.com/tuetschek/e2e-metrics computes them.

BLEU and NIST are those of its mteval-v13a-sig.pl. METEOR, ROUGE-L and CIDEr are the MS-COCO caption versions, on text
that Stanford's PTB tokenizer has split and lower-cased, without punctuation. Values are on the official scale, except
BLEU, which is in points as in the tables.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from components.evaluation.suites import coco, mteval
from components.evaluation.suites.suite import ExampleIndices, Suite

_OUTER_QUOTES = re.compile(r"^\s*['\"]?\s*|\s*['\"]?\s*$")
_COCO_NOTE = "on PTB tokens without punctuation, as MS-COCO captions"
VARIANTS = {
    "bleu": "mteval-13a, lower-cased, in points",
    "nist": "Perl mteval-13a, lower-cased, 5-grams, mean length of all references",
    "meteor": f"METEOR 1.5 {_COCO_NOTE}",
    "rougeL": f"F of beta 1.2 {_COCO_NOTE}",
    "cider": f"CIDEr {_COCO_NOTE}",
}


def compute_scores(
    wanted: Collection[str],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    groups: Sequence[ExampleIndices],
) -> Mapping[str, list[float]]:
    """Return the wanted metrics for each group of rows; every group is scored as a corpus."""
    values: dict[str, list[float]] = {}
    for metric, measure in (("bleu", mteval.compute_bleu), ("nist", mteval.compute_nist)):
        if metric in wanted:
            values[metric] = [
                measure([predictions[row] for row in rows], [references[row] for row in rows]) for rows in groups
            ]
    if captions := [metric for metric in wanted if metric in coco.COCO_METRICS]:
        values |= coco.compute_scores(captions, predictions, references, groups)
    return values


def repair_cell(text: str) -> str:
    """Return a table's cell as the official script reads it.

    It repairs wrongly decoded pounds and accents, and drops one quotation mark at each end.
    """
    for broken, right in (("Ł", "£"), ("Â£", "£"), ("Ã©", "é"), ("ã©", "é")):
        text = text.replace(broken, right)
    return _OUTER_QUOTES.sub("", text)


SUITE = Suite("e2e", VARIANTS, frozenset(coco.COCO_METRICS), frozenset({"bleu"}), compute_scores)
