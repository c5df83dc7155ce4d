"""A tenant's versions as MLflow has them: reports per slice beside the champion's, loss curves, lineage.

Knows the registry; knows no page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from components.console.sources import Sources
from components.data.schema import ALL_SLICE
from components.evaluation.gate import Verdict
from components.evaluation.report import Report, Score
from components.registry.mlflow.run_files import RunRecord
from components.registry.registry import CHAMPION, Registry, Version
from components.stages.evaluate import REPORT_FILE
from components.stages.gate import VERDICT_FILE
from components.stages.register import CAUSE_TAG
from components.stages.stamps import read_json

_LINEAGE = (
    ("dataset version", "dataset_version"),
    ("code", "git_revision"),
    ("base", "base_digest"),
    ("fingerprint", "fingerprint"),
    ("artifact", "sha256"),
    ("method", "method"),
    ("cause", CAUSE_TAG),
    ("registered by", "registered_by"),
    ("workspace", "owner"),
)
"""Label, and tag of the version or of its run."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One metric on one slice, beside the champion's."""

    slice: str
    score: Score
    champion: Score | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version with all that is known of how it was made and judged."""

    version: Version
    report: Report | None
    """None: its run has none."""
    verdict: Verdict | None
    scores: Sequence[ScoreRow]
    champion: str
    """The version it is compared with; "": none."""
    run: RunRecord | None
    lineage: Sequence[tuple[str, str]]


def read_version_facts(sources: Sources, versions: Sequence[Version], number: str) -> VersionFacts | None:
    """Return the facts of one of a tenant's versions; None: it has no such version. Raises RegistryError."""
    registry = sources.registry
    version = next((one for one in versions if one.version == number), None)
    if version is None:
        return None
    report = read_version_report(registry, version)
    other, compared_with = _find_champion_report(sources, versions, version)
    run = registry.read_run(version.run_id) if version.run_id else None
    tags = {**(run.tags if run else {}), **version.tags}
    return VersionFacts(
        version=version,
        report=report,
        verdict=_read_verdict(registry, version),
        scores=compare_scores(report, other),
        champion=compared_with,
        run=run,
        lineage=[(label, tags[tag]) for label, tag in _LINEAGE if tags.get(tag)],
    )


def _find_champion_report(sources: Sources, versions: Sequence[Version], version: Version) -> tuple[Report | None, str]:
    """Return a champion's report to compare a version with, and the champion's number; None, "": there is none.

    The workspace has one on the same examples, if its prefix of the tenant is this version; else it is the champion's
    own, which may be on other examples.
    """
    if sources.workspace is not None:
        folder = sources.workspace.get_output_folder("evaluate", version.tenant)
        champion = read_json(folder / "champion" / "version.json")
        if champion and _read_report_file(folder / REPORT_FILE, version.sha256):
            return _read_report_file(folder / "champion" / REPORT_FILE), str(champion["version"])
    own = next((one for one in versions if CHAMPION in one.aliases and one is not version), None)
    report = read_version_report(sources.registry, own) if own else None
    return report, own.version if own and report else ""


def _read_report_file(path: Path, prefix_digest: str = "") -> Report | None:
    """Return a report in a file; None: there is none, or it is of another prefix than `prefix_digest` ("": any)."""
    try:
        report = Report.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return report if prefix_digest in ("", report.prefix_digest) else None


def read_version_report(registry: Registry, version: Version) -> Report | None:
    """Return the report that the version was judged by; None: its run has none that can be read.

    Raises RegistryError.
    """
    content = registry.read_run_file(version.run_id, REPORT_FILE) if version.run_id else None
    try:
        return None if content is None else Report.model_validate_json(content)
    except ValidationError:
        return None


def compare_scores(report: Report | None, champion: Report | None) -> list[ScoreRow]:
    """Return a row for each slice and metric of a report, with the champion's score on the same split."""
    if report is None:
        return []
    known: Mapping[tuple[str, str], Score] = {}
    if champion is not None and (champion.split, champion.data_digest) == (report.split, report.data_digest):
        known = {(name, one.metric): one for name, scores in champion.slices.items() for one in scores}
    ordered = sorted(report.slices, key=lambda name: (name != ALL_SLICE, name))
    return [ScoreRow(name, one, known.get((name, one.metric))) for name in ordered for one in report.slices[name]]


def _read_verdict(registry: Registry, version: Version) -> Verdict | None:
    content = registry.read_run_file(version.run_id, VERDICT_FILE) if version.run_id else None
    try:
        return None if content is None else Verdict.model_validate_json(content)
    except ValidationError:
        return None
