"""The scores of a tenant's last evaluation, and of what its prefix was compared with, for the record of a run."""

from dataclasses import dataclass
from pathlib import Path

from components.config import Metric
from components.errors import PrefixFleetError
from components.evaluation.report import Report, read_report
from components.stages.evaluate import REPORT_FILE
from components.stages.stamps import read_json
from components.stages.workspace import Workspace

BASE_ALONE = "base"


@dataclass(frozen=True, slots=True)
class RunScores:
    """Scores in points; None: unknown."""

    bleu_before: float | None = None
    bleu_after: float | None = None
    rouge_before: float | None = None
    rouge_after: float | None = None
    compared_with: str = ""
    """The champion's version, or "base" if there was no champion to compare with; "": no scores."""


def read_run_scores(workspace: Workspace, tenant: str) -> RunScores:
    """Return the scores in out/evaluate; empty ones if the tenant was not evaluated."""
    folder = workspace.get_output_folder("evaluate", tenant)
    after = _read(folder)
    if after is None:
        return RunScores()
    champion = read_json(folder / "champion" / "version.json")
    before = _read(folder / "champion") if champion else _read(folder / "base")
    return RunScores(
        bleu_before=_find(before, "bleu"),
        bleu_after=_find(after, "bleu"),
        rouge_before=_find(before, "rougeL"),
        rouge_after=_find(after, "rougeL"),
        compared_with=str(champion["version"]) if champion else BASE_ALONE,
    )


def _read(folder: Path) -> Report | None:
    try:
        return read_report(folder / REPORT_FILE)
    except PrefixFleetError:  # the stage that failed has reported it
        return None


def _find(report: Report | None, metric: Metric) -> float | None:
    try:
        return None if report is None else report.find_score(metric).value
    except PrefixFleetError:  # an evaluation without this metric
        return None
