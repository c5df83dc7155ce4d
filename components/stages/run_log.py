"""Records a retraining in the rollout's database: what was planned, where it was trained, and what became of it.

Does not know the flow that runs it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from sqlalchemy.engine import Connection

from components.config.console import ConsoleConfig
from components.notify.events import describe_run
from components.rollout.store.runs import (
    RunResult,
    RunTenant,
    begin_run_entry,
    end_run_entry,
    read_run_start,
)
from components.stages.base import BASE_FILE
from components.stages.next_base_view import NextBaseView
from components.stages.notifications import add_fleet_events
from components.stages.outcome import TenantOutcome
from components.stages.run_scores import read_run_scores
from components.stages.stamps import TRAINING_FILE, read_json
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class WorkerSpan:
    """The time in which a worker had a shard. Times are seconds since 1970."""

    shard: str
    worker: str
    device: str
    began_s: float
    ended_s: float


def begin_run_log(workspace: Workspace, trigger: str, by: str, code_version: str = "") -> int:
    """Record that a run begins; return its id. Raises WorkspaceError."""
    return begin_run_entry(workspace.database, trigger, by, _now(), code_version)


def end_run_log(
    workspace: Workspace,
    run: int,
    *,
    version: str,
    reasons: Mapping[str, str],
    planned: int,
    outcomes: Sequence[TenantOutcome],
    rejected: Mapping[str, str],
    promoted: Mapping[str, str],
    spans: Mapping[str, WorkerSpan],
    for_next_base: Collection[str] = (),
    refused: Mapping[str, str] | None = None,
) -> None:
    """Record how a run ended.

    A tenant that was not trained is recorded if a stage failed for it, its version was promoted, or its prefix was
    evaluated or judged again. `reasons`: tenant -> why it was trained. `planned`: all tenants that the run looked at.
    `rejected`: tenant -> why. `promoted`: tenant -> its new version. `spans`: tenant -> where it was trained.
    `refused`: tenant that needed training and was not trained -> why. `for_next_base`: the tenants that were trained
    for the base to which the fleet moves. Raises WorkspaceError.
    """
    next_base = NextBaseView(workspace) if for_next_base else workspace
    failures = {one.tenant: f"{one.stage}: {one.detail}" for one in outcomes if one.state == "failed"}
    told = sorted({*reasons, *failures, *promoted, *(one.tenant for one in outcomes if _has_new_result(one))})
    rows = [
        _make_row(
            next_base if tenant in for_next_base else workspace,
            tenant,
            reasons.get(tenant, ""),
            failures,
            rejected,
            promoted,
            spans.get(tenant),
        )
        for tenant in told
    ]
    skipped = {tenant: why for tenant, why in (refused or {}).items() if tenant not in told}
    rows += [RunTenant(tenant=tenant, result="skipped", detail=why) for tenant, why in sorted(skipped.items())]
    facts = read_json(workspace.get_output_folder("base") / BASE_FILE) or {}
    ended_at, unchanged = _now(), max(0, planned - len(rows))

    def announce_end(connection: Connection) -> None:
        start = read_run_start(connection, run)
        entry = replace(start, ended_at=ended_at, dataset_version=version, unchanged=unchanged)
        link = make_report_link(workspace.params.console, run)
        add_fleet_events(workspace, connection, *describe_run(entry, rows, link))

    digest = str(facts.get("digest", ""))
    end_run_entry(workspace.database, run, ended_at, version, unchanged, rows, digest, announce_end)


def _has_new_result(outcome: TenantOutcome) -> bool:
    return outcome.stage in ("evaluate", "gate") and outcome.state == "done"


def _make_row(
    workspace: Workspace,
    tenant: str,
    reason: str,
    failures: Mapping[str, str],
    rejected: Mapping[str, str],
    promoted: Mapping[str, str],
    span: WorkerSpan | None,
) -> RunTenant:
    result: RunResult
    if tenant in failures:
        result, detail = "failed", failures[tenant]
    elif tenant in rejected:
        result, detail = "rejected", rejected[tenant]
    elif tenant in promoted:
        result, detail = "promoted", f"version {promoted[tenant]}"
    else:
        result, detail = "accepted", ""
    is_trained = bool(reason) and span is not None and tenant not in failures
    measured = (read_json(workspace.get_output_folder("train", tenant) / TRAINING_FILE) if is_trained else None) or {}
    return RunTenant(
        tenant=tenant,
        result=result,
        reason=reason,
        detail=detail,
        shard=span.shard if span else "",
        worker=span.worker if span else "",
        device=span.device if span else "",
        began_s=span.began_s if span else 0.0,
        ended_s=span.ended_s if span else 0.0,
        device_seconds=float(measured.get("seconds", 0.0)),
        training_tokens=int(measured.get("tokens", 0)),
        **(asdict(read_run_scores(workspace, tenant)) if tenant not in failures else {}),
    )


def make_report_link(config: ConsoleConfig, run: int) -> str:
    """Return the address of a run's report in the console; "": params.yaml does not say where the console is."""
    return f"{config.url}/nights/{run}/report" if config.url else ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
