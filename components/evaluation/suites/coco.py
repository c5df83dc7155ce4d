"""METEOR, ROUGE-L and CIDEr as the MS-COCO caption evaluation computes them, with the package pycocoevalcap.

The package's tokenizer jar is run from here and not by the package's wrapper, which writes into its own folder and does
not notice missing lines of output. Knows texts and groups of rows.
"""

import re
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence

from components.errors import WorkspaceError
from components.evaluation.suites import java, meteor
from components.evaluation.suites.suite import ExampleIndices

COCO_METRICS = ("meteor", "rougeL", "cider")

# The tokens that pycocoevalcap's tokenizer/ptbtokenizer.py drops.
_PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())  # noqa: SIM905
_LINE_BREAKS = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_TIME_LIMIT_S = 600


def compute_scores(
    wanted: Collection[str],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    groups: Sequence[ExampleIndices],
) -> Mapping[str, list[float]]:
    """Return the wanted metrics of COCO_METRICS for each group of rows.

    Raises:
        WorkspaceError: Java or pycocoevalcap is missing, or one of its programs fails.

    """
    lines = tokenize_ptb([*predictions, *(text for own in references for text in own)])
    texts, rest = lines[: len(predictions)], iter(lines[len(predictions) :])
    targets = [[next(rest) for _ in own] for own in references]
    values: dict[str, list[float]] = {}
    if "meteor" in wanted:
        values["meteor"] = meteor.compute_scores(texts, targets, groups)
    if "rougeL" in wanted:
        values["rougeL"] = _score_rouge(texts, targets, groups)
    if "cider" in wanted:
        values["cider"] = [
            _score_cider([texts[row] for row in rows], [targets[row] for row in rows]) for rows in groups
        ]
    return values


def tokenize_ptb(texts: Sequence[str]) -> list[str]:
    """Return each text as lower-cased PTB tokens without punctuation, joined by spaces.

    Raises:
        WorkspaceError: Java or pycocoevalcap is missing, or the tokenizer fails.

    """
    options = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(java.find_jar(java.TOKENIZER_JAR)), *options]
    fed = "".join(_LINE_BREAKS.sub(" ", text) + "\n" for text in texts)
    done = subprocess.run(command, input=fed.encode(), capture_output=True, check=False, timeout=_TIME_LIMIT_S)
    lines = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(lines) != len(texts):
        errors = done.stderr.decode(errors="replace").strip().splitlines()
        message = errors[-1] if errors else "no error message"
        got = f"exit code {done.returncode}, {len(lines)} lines for {len(texts)} texts; {message}"
        raise WorkspaceError("tokens from Stanford's PTB tokenizer", got, "check the Java runtime and its memory")
    return [" ".join(_drop_punctuation(line)) for line in lines]


def _drop_punctuation(line: str) -> Iterable[str]:
    return (word for word in line.rstrip().split(" ") if word not in _PUNCTUATION)


def _score_rouge(
    texts: Sequence[str], targets: Sequence[Sequence[str]], groups: Sequence[ExampleIndices]
) -> list[float]:
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = Rouge()
    each = [scorer.calc_score([text], list(own)) for text, own in zip(texts, targets, strict=True)]
    return [sum(each[row] for row in rows) / len(rows) for rows in groups]


def _score_cider(texts: Sequence[str], targets: Sequence[Sequence[str]]) -> float:
    from pycocoevalcap.cider.cider import Cider

    if not any(text for own in targets for text in own):
        return 0.0
    by_id = range(len(texts))
    score, _ = Cider().compute_score({i: list(targets[i]) for i in by_id}, {i: [texts[i]] for i in by_id})
    return float(score)
