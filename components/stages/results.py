"""The table that a run ends with: one row a tenant, from the files in out/ and the registry.

The same rows go to the terminal, to Prefect's page and into a markdown file. Does not know any of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from components.errors import PrefixFleetError
from components.evaluation.report import Score, read_report
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE, read_manifest
from components.registry.tracking import Version
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
    champions = workspace.registry.champions()
    base_parameters = int(describe(workspace)["parameters"])
    rows = [_row(workspace, tenant, champions, base_parameters) for tenant in workspace.tenants(tenants)]
    return [row for row in rows if row is not None]


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


def _row(workspace: Workspace, tenant: str, champions: dict[str, Version], base_parameters: int) -> Row | None:
    trained, evaluated = workspace.out("train", tenant), workspace.out("evaluate", tenant)
    try:
        manifest = read_manifest(trained)
        prefix, base = read_report(evaluated / REPORT_FILE), read_report(evaluated / "base" / REPORT_FILE)
        verdict = last_verdict(workspace, tenant)
    except PrefixFleetError:  # told where it happened
        return None
    version = _version(workspace, tenant, manifest.sha256, champions)
    return Row(
        tenant=tenant,
        method=manifest.method,
        bleu_base=base.score("bleu"),
        bleu=prefix.score("bleu"),
        rouge_base=base.score("rougeL"),
        rouge=prefix.score("rougeL"),
        parameters=manifest.parameters,
        share=manifest.parameters / base_parameters,
        artifact_bytes=sum((trained / name).stat().st_size for name in (TENSORS_FILE, MANIFEST_FILE)),
        verdict="none" if verdict is None else "accepted" if verdict.accepted else "rejected",
        version=version.version if version else "-",
        alias=", ".join(version.aliases) if version and version.aliases else "-",
    )


def _version(workspace: Workspace, tenant: str, sha256: str, champions: dict[str, Version]) -> Version | None:
    champion = champions.get(tenant)
    if champion is not None and champion.sha256 == sha256:
        return champion
    return next((version for version in workspace.registry.versions(tenant) if version.sha256 == sha256), None)


def _interval(score: Score) -> str:
    return f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]"
