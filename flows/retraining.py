"""Retrain in this process: with the flow `retrain`, or, if there is nothing to do, without Prefect's local server.

The server takes longer to start than everything else that a run with nothing to do needs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.stages.progress import log_info
from flows.run_local import find_named_server, run_flow

if TYPE_CHECKING:
    from flows.retrain_result import RetrainResult


def retrain_local(root: Path, tenants: Sequence[str] | None = None, *, full_check: bool = False) -> "RetrainResult":
    """Run the flow `retrain` on the workspace `root`; return its result, even if its state is failed.

    With PREFECT_API_URL the flow always runs, so that the server there shows every run.

    Raises:
        WorkspaceError, PrefixFleetError: as `run_flow`.
    """
    if not find_named_server() and (idle := _find_idle_result(root, tenants, full_check)):
        return idle
    result: RetrainResult = run_flow("retrain", root, tenants and list(tenants), full_check=full_check)
    return result


def _find_idle_result(root: Path, tenants: Sequence[str] | None, full_check: bool) -> "RetrainResult | None":
    from components.stages.idle_run import find_idle_run
    from components.stages.last_failures import record_outcomes
    from components.stages.workspace import Workspace

    workspace = Workspace(root, full_check=full_check)
    with workspace.lock():
        idle = find_idle_run(workspace, tenants)
    if idle is None:
        return None
    from flows.retrain_result import RetrainResult

    log_info(idle.planned.sentence)
    result = RetrainResult(idle.version, idle.planned.sentence, outcomes=idle.outcomes, rows=idle.rows)
    record_outcomes(workspace, [*result.outcomes, *result.list_finished()])
    return result
