"""The table that a run ends with: one row a tenant, from the files in out/ and the registry.

The same rows go to the terminal, to Prefect's page and into a markdown file. Does not know any of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.errors import PrefixFleetError
from components.evaluation.gate import Verdict
from components.evaluation.report import Report, Score, read_report
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE, Manifest, read_manifest
from components.registry.registry import CHALLENGER, CHAMPION, Version
from components.stages.base import describe
from components.stages.evaluate import REPORT_FILE
from components.stages.gate import last_verdict
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


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant's results; scores are in points with their interval, sizes in bytes."""

    tenant: str
    method: str
    bleu_base: Score
    bleu: Score
    rouge_base: Score
    rouge: Score
    parameters: int
    share: float
    artifact_bytes: int
    verdict: str
    version: str
    alias: str

    def cells(self, *, method: bool = False) -> tuple[str, ...]:
        """The row as text, a cell for each of COLUMNS; with `method` behind the tenant where that is asked for."""
        return (
            self.tenant,
            *([self.method] if method else []),
            *(_interval(score) for score in (self.bleu_base, self.bleu, self.rouge_base, self.rouge)),
            f"{self.parameters:,} ({self.share:.2%})",
            f"{self.artifact_bytes / 1024:.0f} KiB",
            self.verdict,
            self.version,
            self.alias,
        )


def results(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[Row]:
    """A row for every (or the named) tenant that has a prefix and its reports; tenants that failed before are left out.

    Raises:
        RegistryError: MLflow does not answer.

    """
    base_parameters = int(describe(workspace)["parameters"])
    found = [one for tenant in workspace.tenants(tenants) if (one := _read(workspace, tenant)) is not None]
    versions = _versions(workspace, {one.manifest.tenant: one.manifest.sha256 for one in found})
    return [_row(workspace, one, versions.get(one.manifest.tenant), base_parameters) for one in found]


def table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and cells; methods are a column where any is not `prefix`."""
    method = any(row.method != "prefix" for row in rows)
    heads = (COLUMNS[0], *(["method"] if method else []), *COLUMNS[1:])
    return heads, [row.cells(method=method) for row in rows]


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a markdown table."""
    heads, cells = table(rows)
    lines = [heads, ["---"] * len(heads), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@dataclass(frozen=True, slots=True)
class _Found:
    manifest: Manifest
    base: Report
    prefix: Report
    verdict: Verdict | None


def _read(workspace: Workspace, tenant: str) -> _Found | None:
    evaluated = workspace.out("evaluate", tenant)
    try:
        return _Found(
            manifest=read_manifest(workspace.out("train", tenant)),
            base=read_report(evaluated / "base" / REPORT_FILE),
            prefix=read_report(evaluated / REPORT_FILE),
            verdict=last_verdict(workspace, tenant),
        )
    except PrefixFleetError:  # told where it happened
        return None


def _versions(workspace: Workspace, prefixes: Mapping[str, str]) -> dict[str, Version]:
    """The champion or challenger where it holds the very prefix, else the newest version that does."""
    standing = workspace.registry.standing(CHAMPION, CHALLENGER)
    found = {
        tenant: version
        for alias in (CHALLENGER, CHAMPION)
        for tenant, version in standing[alias].items()
        if version.sha256 == prefixes.get(tenant)
    }
    others = {tenant: sha256 for tenant, sha256 in prefixes.items() if tenant not in found}
    return found | (workspace.registry.holding(others) if others else {})


def _row(workspace: Workspace, found: _Found, version: Version | None, base_parameters: int) -> Row:
    manifest, verdict = found.manifest, found.verdict
    trained = workspace.out("train", manifest.tenant)
    return Row(
        tenant=manifest.tenant,
        method=manifest.method,
        bleu_base=found.base.score("bleu"),
        bleu=found.prefix.score("bleu"),
        rouge_base=found.base.score("rougeL"),
        rouge=found.prefix.score("rougeL"),
        parameters=manifest.parameters,
        share=manifest.parameters / base_parameters,
        artifact_bytes=sum((trained / name).stat().st_size for name in (TENSORS_FILE, MANIFEST_FILE)),
        verdict="none" if verdict is None else "accepted" if verdict.accepted else "rejected",
        version=version.version if version else "-",
        alias=", ".join(version.aliases) if version and version.aliases else "-",
    )


def _interval(score: Score) -> str:
    return f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]"
