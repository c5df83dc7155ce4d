"""Finds out whether a retraining would change anything, without Prefect, MLflow's client, the model or DVC's commit.

Every step of the flow `retrain` decides by digests whether its results are up to date. This makes the same decisions,
the fastest first, and ends at the first thing to do. Trains, judges, registers and promotes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.dvc import is_clean
from components.data.swap import recover_swap
from components.registry.mlflow.versions import CHALLENGER, CHAMPION
from components.stages import evaluate, gate
from components.stages.dataset import find_tenants_with_drops
from components.stages.outcome import TenantOutcome
from components.stages.plan import Plan, plan
from components.stages.reports.charts import find_charts
from components.stages.reports.results_table import TenantResult, read_results
from components.stages.stamps import find_departed
from components.stages.train import LOSS_FILE
from components.stages.workspace import Workspace


@dataclass(frozen=True)
class IdleRun:
    """The result of a run that has nothing to do."""

    version: str
    """The dataset version."""
    planned: Plan
    outcomes: list[TenantOutcome]
    """One skipped outcome per tenant and stage."""
    rows: list[TenantResult]
    """The table of results."""


def find_idle_run(workspace: Workspace, tenants: Sequence[str] | None = None) -> IdleRun | None:
    """Return the result of a run over all (or the named) tenants that changes nothing; None if there is work to do.

    Also None if a tenant fails a check: the run then reports it. The caller holds the workspace's lock.

    Raises:
        PrefixFleetError: what would end the run too, before anything is trained.
    """
    if workspace.params.next_base is not None:
        return None  # tenants that have moved have results of their own
    recover_swap(workspace.root)
    waiting = find_tenants_with_drops(workspace)
    if not workspace.data.is_dir() or any(tenants is None or tenant in tenants for tenant in waiting):
        return None
    planned = plan(workspace, tenants)
    if planned.items or _has_departed(workspace) or not all(path.is_file() for path in _list_gathered(workspace)):
        return None
    fingerprints = planned.collect_fingerprints()
    versions = workspace.registry.poll_aliased(CHAMPION, CHALLENGER)
    evaluated = evaluate.find_finished(workspace, fingerprints, versions[CHAMPION])
    if evaluated is None or not all(gate.is_judged(workspace, tenant) for tenant in fingerprints):
        return None
    judged = [gate.judge_tenant(workspace, tenant) for tenant in fingerprints]
    rows = read_results(workspace, tenants)
    if not all(row.verdict == "accepted" and row.alias != "-" for row in rows):
        return None
    workspace.save_digests()
    if not is_clean(workspace.root, whole=tenants is None):
        return None
    outcomes = [TenantOutcome(tenant, "train", "skipped") for tenant in fingerprints] + evaluated + judged
    return IdleRun(workspace.dataset_version, planned, outcomes, rows)


def _has_departed(workspace: Workspace) -> bool:
    """Return whether there are results of a tenant that has no data any more."""
    present = workspace.list_tenants()
    folders = [*(workspace.get_output_folder(stage) for stage in ("train", "evaluate", "gate")), workspace.tokens]
    return any(find_departed(folder, present) for folder in folders)


def _list_gathered(workspace: Workspace) -> list[Path]:
    """Return the files that a run makes of all tenants' results."""
    metrics = workspace.get_output_folder("evaluate") / evaluate.METRICS_FOLDER
    return [
        workspace.get_output_folder("train") / LOSS_FILE,
        *(metrics / f"{tenant}.json" for tenant in workspace.list_tenants()),
        workspace.get_output_folder("evaluate") / evaluate.BLEU_FILE,
        workspace.get_output_folder("gate") / gate.VERDICTS_FILE,
        *find_charts(workspace),
    ]
