"""The status of every tenant: its data, its champion, the last verdict, and whether the champion is stale."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.data.schema import SPLITS
from components.stages.base import read_base_facts
from components.stages.gate import read_last_verdict
from components.stages.plan import SharedItems, plan_tenant
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """One tenant's status, as text."""

    tenant: str
    examples: tuple[int, ...]
    """Lines of the train, validation and test split."""
    data_digest: str
    champion: str
    """Version in MLflow; "-": none."""
    bleu: str
    verdict: str
    """Sentence of the last verdict; "-": none."""
    stale: str
    """Why the champion is not the prefix of today's data, parameters and base; "": it is."""


def read_status(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[TenantStatus]:
    """Return the status of all or the named tenants.

    Raises:
        DataError: there are no data, or a named tenant has none.
        RegistryError: MLflow does not answer.

    """
    listed = workspace.list_tenants(tenants)
    base_digest = read_base_facts(workspace)["digest"]
    champions = workspace.registry.find_champions()
    rows = []
    shared: SharedItems = {}
    for tenant in listed:
        item = plan_tenant(workspace, tenant, base_digest, shared)
        champion, verdict = champions.get(tenant), read_last_verdict(workspace, tenant)
        stale = ""
        if champion is None:
            stale = "no champion"
        elif champion.fingerprint != item.fingerprint:
            stale = item.reason or "a newer prefix is in out/"
        rows.append(
            TenantStatus(
                tenant=tenant,
                examples=tuple(_count_lines(workspace, tenant, split) for split in SPLITS),
                data_digest=item.data_digest[:12],
                champion=champion.version if champion else "-",
                bleu=f"{float(champion.tags['metric.bleu']):.1f}"
                if champion and "metric.bleu" in champion.tags
                else "-",
                verdict="-" if verdict is None else verdict.sentence,
                stale=stale,
            )
        )
    workspace.save_digests()
    return rows


def _count_lines(workspace: Workspace, tenant: str, split: str) -> int:
    path = workspace.data / tenant / f"{split}.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0
