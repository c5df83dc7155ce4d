"""Retrain in this process: with the flow `retrain`, or, if there is nothing to do, without Prefect's local server.

The server takes longer to start than everything else that a run with nothing to do needs.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.otel.spans import start_root
from components.stages.progress import log_info
from components.stages.triggers.run_causes import BY_HAND
from flows.run_local import find_named_server, run_flow

if TYPE_CHECKING:
    from components.stages.triggers.watching import WatchLook
    from flows.retrain_result import RetrainResult


def retrain_local(
    root: Path, tenants: Sequence[str] | None = None, *, full_check: bool = False, trigger: str = BY_HAND
) -> "RetrainResult":
    """Run the flow `retrain` on the workspace `root`; return its result, even if its state is failed.

    `trigger`: what starts the run. With PREFECT_API_URL the flow always runs, so that the server there shows every run.

    Raises:
        WorkspaceError, PrefixFleetError: as `run_flow`.
    """
    if not find_named_server() and (idle := _find_idle_result(root, tenants, full_check, trigger)):
        return idle
    result: RetrainResult = run_flow("retrain", root, tenants and list(tenants), full_check=full_check, trigger=trigger)
    return result


def _find_idle_result(
    root: Path, tenants: Sequence[str] | None, full_check: bool, trigger: str
) -> "RetrainResult | None":
    from components.stages.idle_run import find_idle_run
    from components.stages.last_failures import record_outcomes
    from components.stages.run_metrics import name_retraining, record_flow_end
    from components.stages.triggers.run_causes import begin_run, end_run
    from components.stages.workspace import Workspace

    workspace, began_s = Workspace(root, full_check=full_check), time.time()
    span = start_root("retrain")  # never ended, and so not exported, if there is something to do
    with workspace.lock():
        idle = find_idle_run(workspace, tenants)
        if idle is None:
            return None
        causes = begin_run(workspace, tenants, trigger)
    from flows.retrain_result import RetrainResult
    from flows.secret_blocks import send_due_messages

    log_info(idle.planned.sentence)
    result = RetrainResult(
        idle.version, idle.planned.sentence, outcomes=idle.outcomes, rows=idle.rows, causes=causes.list_lines()
    )
    record_outcomes(workspace, [*result.outcomes, *result.list_finished()])
    end_run(workspace, causes, result.outcomes, result.sentence)
    span.set(dataset_version=idle.version, to_train=0, unchanged=len(idle.planned.skipped))
    span.end()
    record_flow_end(workspace, name_retraining(tenants), began_s)
    send_due_messages(workspace)
    return result


def watch_local(root: Path) -> "tuple[WatchLook, RetrainResult | None]":
    """Look once for causes, and retrain the tenants that have one; None: nothing was retrained.

    With PREFECT_API_URL the flow `watch` runs, so that the server there shows every look.

    Raises:
        ConfigError: `triggers` cannot be used.
        WorkersError: the watched bucket does not answer.
        WorkspaceError, PrefixFleetError: as `run_flow`.
    """
    if find_named_server():
        result = run_flow("watch", root)
        return result.look, result.run
    from components.stages.run_metrics import record_flow_end
    from components.stages.triggers.run_causes import name_trigger
    from components.stages.triggers.watching import look
    from components.stages.workspace import Workspace
    from flows.secret_blocks import send_due_messages

    workspace, began_s = Workspace(root), time.time()
    found = look(workspace)
    record_flow_end(workspace, "watch", began_s)
    if not found.due:
        send_due_messages(workspace)
        return found, None
    return found, retrain_local(root, sorted({one.tenant for one in found.due}), trigger=name_trigger(found.due))
