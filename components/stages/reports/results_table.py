"""The table of results: one row a tenant, from the files in out/ and the registry.

Does not know where the rows are shown: on a terminal, on Prefect's page or in a markdown file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.errors import PrefixFleetError
from components.evaluation.gate import Verdict
from components.evaluation.report import Report, Score, read_report
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE, Manifest, read_manifest
from components.registry.registry import CHALLENGER, CHAMPION, Version
from components.stages.base import read_base_facts
from components.stages.evaluate import REPORT_FILE
from components.stages.gate import read_last_verdict
from components.stages.splits import read_overlaps
from components.stages.workspace import Workspace

COLUMNS = (
    "tenant",
    "BLEU without",
    "BLEU with prefix",
    "ROUGE-L without",
    "ROUGE-L with prefix",
    "parameters",
    "size",
    "verdict",
    "version",
    "alias",
)
MOST_SHOWN = 200
"""Tenants of a fleet whose whole table is shown; of a larger one those that the run worked on."""
NARROW_COLUMNS = ("tenant", "BLEU", "ROUGE-L", "verdict", "version", "alias")
"""Scores are those without and with the prefix."""


@dataclass(frozen=True, slots=True)
class TenantResult:
    """One tenant's results. Scores are in points, with their interval."""

    tenant: str
    method: str
    bleu_base: Score
    bleu: Score
    rouge_base: Score
    rouge: Score
    parameters: int
    parameter_share: float
    artifact_bytes: int
    verdict: str
    version: str
    alias: str
    overlaps: str = ""
    """How much of validation and test stood in train, in words; "": nothing."""

    def to_cells(self, *, method: bool = False) -> tuple[str, ...]:
        """Return the row as text, one cell for each of COLUMNS; with `method`, the method follows the tenant."""
        return (
            self.tenant,
            *([self.method] if method else []),
            *(_format_interval(score) for score in (self.bleu_base, self.bleu, self.rouge_base, self.rouge)),
            f"{self.parameters:,} ({self.parameter_share:.2%})",
            f"{self.artifact_bytes / 1024:.0f} KiB",
            self.verdict,
            self.version,
            self.alias,
        )


def read_results(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[TenantResult]:
    """Return a row for each tenant (or each named one) that has a prefix and reports; others are left out.

    Raises:
        RegistryError: MLflow does not answer.

    """
    base_parameters = int(read_base_facts(workspace)["parameters"])
    reports = [_read_reports(workspace, tenant) for tenant in workspace.list_tenants(tenants)]
    complete = [one for one in reports if one is not None]
    versions = _find_versions(workspace, {one.manifest.tenant: one.manifest.sha256 for one in complete})
    return [_make_result(workspace, one, versions.get(one.manifest.tenant), base_parameters) for one in complete]


def make_table(rows: Sequence[TenantResult]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the column heads and the cells; there is a column `method` if any method is not `prefix`."""
    method = any(row.method != "prefix" for row in rows)
    heads = (COLUMNS[0], *(["method"] if method else []), *COLUMNS[1:])
    return heads, [row.to_cells(method=method) for row in rows]


def make_narrow_table(rows: Sequence[TenantResult]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and cells that fit beside other things on a page: scores without intervals, no sizes."""
    method = any(row.method != "prefix" for row in rows)
    heads = (*NARROW_COLUMNS[:1], *(["method"] if method else []), *NARROW_COLUMNS[1:])
    cells = [
        (
            row.tenant,
            *([row.method] if method else []),
            f"{row.bleu_base.value:.1f} \N{RIGHTWARDS ARROW} {row.bleu.value:.1f}",
            f"{row.rouge_base.value:.1f} \N{RIGHTWARDS ARROW} {row.rouge.value:.1f}",
            row.verdict,
            row.version,
            row.alias,
        )
        for row in rows
    ]
    return heads, cells


def to_markdown(rows: Sequence[TenantResult]) -> str:
    """Return the rows as a narrow markdown table."""
    heads, cells = make_narrow_table(rows)
    lines = [heads, ["---"] * len(heads), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@dataclass(frozen=True, slots=True)
class _TenantReports:
    manifest: Manifest
    base: Report
    prefix: Report
    verdict: Verdict | None


def _read_reports(workspace: Workspace, tenant: str) -> _TenantReports | None:
    evaluated = workspace.get_output_folder("evaluate", tenant)
    try:
        return _TenantReports(
            manifest=read_manifest(workspace.get_output_folder("train", tenant)),
            base=read_report(evaluated / "base" / REPORT_FILE),
            prefix=read_report(evaluated / REPORT_FILE),
            verdict=read_last_verdict(workspace, tenant),
        )
    except PrefixFleetError:  # reported by the stage that failed
        return None


def _find_versions(workspace: Workspace, prefixes: Mapping[str, str]) -> dict[str, Version]:
    """Return each tenant's version of its prefix (a sha256): the champion or challenger, else the newest of them."""
    aliased = workspace.registry.poll_aliased(CHAMPION, CHALLENGER)
    versions = {
        tenant: version
        for alias in (CHALLENGER, CHAMPION)
        for tenant, version in aliased[alias].items()
        if version.sha256 == prefixes.get(tenant)
    }
    others = {tenant: sha256 for tenant, sha256 in prefixes.items() if tenant not in versions}
    return versions | (workspace.registry.find_by_sha256(others) if others else {})


def _make_result(
    workspace: Workspace, reports: _TenantReports, version: Version | None, base_parameters: int
) -> TenantResult:
    manifest, verdict = reports.manifest, reports.verdict
    trained = workspace.get_output_folder("train", manifest.tenant)
    return TenantResult(
        tenant=manifest.tenant,
        method=manifest.method,
        bleu_base=reports.base.find_score("bleu"),
        bleu=reports.prefix.find_score("bleu"),
        rouge_base=reports.base.find_score("rougeL"),
        rouge=reports.prefix.find_score("rougeL"),
        parameters=manifest.parameters,
        parameter_share=manifest.parameters / base_parameters,
        artifact_bytes=sum((trained / name).stat().st_size for name in (TENSORS_FILE, MANIFEST_FILE)),
        verdict="none" if verdict is None else "accepted" if verdict.accepted else "rejected",
        version=version.version if version else "-",
        alias=", ".join(version.aliases) if version and version.aliases else "-",
        overlaps=read_overlaps(workspace, manifest.tenant),
    )


def _format_interval(score: Score) -> str:
    return f"{score.value:.1f}{score.format_interval(1)}"
