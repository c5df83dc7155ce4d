"""The E2E NLG Challenge's metrics, as github.com/tuetschek/e2e-metrics computes them.

BLEU and NIST are those of its mteval-v13a-sig.pl. METEOR, ROUGE-L and CIDEr are the MS-COCO caption versions, on text
that Stanford's PTB tokenizer has split and lower-cased, without punctuation. Values are on the official scale, except
BLEU, which is in points as in the tables.
"""

from collections.abc import Collection, Mapping, Sequence

from components.evaluation.suites import coco, mteval
from components.evaluation.suites.suite import ExampleIndices, Suite

_COCO_NOTE = "on PTB tokens without punctuation, as MS-COCO captions"
VARIANTS = {
    "bleu": "mteval-13a, lower-cased, in points",
    "nist": "Perl mteval-13a, lower-cased, 5-grams, references filled up to the largest number",
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


def repair_characters(text: str) -> str:
    """Return the text with wrongly decoded pounds and accents repaired, as the official script repairs tables."""
    for broken, right in (("Ł", "£"), ("Â£", "£"), ("Ã©", "é"), ("ã©", "é")):
        text = text.replace(broken, right)
    return text


SUITE = Suite("e2e", VARIANTS, frozenset(coco.COCO_METRICS), frozenset({"bleu"}), compute_scores)
