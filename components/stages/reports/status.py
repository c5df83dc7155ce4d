"""What stands for every tenant: its data, its champion, the last verdict, and whether the champion is stale."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.data.schema import SPLITS
from components.stages.base import describe
from components.stages.gate import last_verdict
from components.stages.plan import examine
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Status:
    """One tenant; `stale` says why the champion is not what data, parameters and base ask for today, "" when it is."""

    tenant: str
    examples: tuple[int, ...]
    data_digest: str
    champion: str
    bleu: str
    verdict: str
    stale: str


def status(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[Status]:
    """Every (or the named) tenant's status.

    Raises:
        DataError: no data, or a named tenant without.
        RegistryError: MLflow does not answer.

    """
    known = workspace.tenants(tenants)
    base_digest = describe(workspace)["digest"]
    champions = workspace.registry.champions()
    found = []
    prints: dict[str, str | None] = {}
    for tenant in known:
        item = examine(workspace, tenant, base_digest, prints)
        champion, verdict = champions.get(tenant), last_verdict(workspace, tenant)
        stale = ""
        if champion is None:
            stale = "no champion"
        elif champion.fingerprint != item.fingerprint:
            stale = item.reason or "a newer prefix is in out/"
        found.append(
            Status(
                tenant=tenant,
                examples=tuple(_lines(workspace, tenant, split) for split in SPLITS),
                data_digest=item.data_digest[:12],
                champion=champion.version if champion else "-",
                bleu=f"{float(champion.tags['metric.bleu']):.1f}"
                if champion and "metric.bleu" in champion.tags
                else "-",
                verdict="-" if verdict is None else verdict.sentence,
                stale=stale,
            )
        )
    workspace.remember()
    return found


def _lines(workspace: Workspace, tenant: str, split: str) -> int:
    path = workspace.data / tenant / f"{split}.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0
