"""Callers' corrections into drops: what somebody would rather have read is an example of the next dataset version."""

from components.data.drops import add_to_drop as add_to_drop
from components.data.schema import Example, find_problem
from components.rollout.store.feedback import mark_delivered, read_corrections
from components.stages.progress import log_info, log_warning
from components.stages.rollout.cycle import hold_cycle_lock
from components.stages.workspace import Workspace

FEEDBACK_SLICE = "feedback"
"""Slice of the examples made so."""

_LOCK_WAIT_S = 60.0


def deliver_corrections(workspace: Workspace) -> dict[str, int]:
    """Put every correction not yet delivered into its tenant's drop, one process at a time; returns how many a tenant.

    Killed in between, it finds what it had put there and puts it there no second time; nor does an intake take what it
    has. What no example may be is told and left behind.

    Raises:
        WorkspaceError: the disk is full, the database does not answer, or another delivery or a cycle does not end.
    """
    with hold_cycle_lock(workspace, wait_s=_LOCK_WAIT_S), workspace.database.lock("corrections"):
        return _deliver_locked(workspace)


def _deliver_locked(workspace: Workspace) -> dict[str, int]:
    waiting = read_corrections(workspace.database)
    found: dict[str, list[Example]] = {}
    for _, one in waiting:
        example = Example(one.source or "", (one.corrected or "",), FEEDBACK_SLICE)
        if reason := find_problem(example, workspace.params.data):
            log_warning(f"{one.tenant}: the correction of answer {one.request} is no example: {reason}")
        else:
            found.setdefault(one.tenant, []).append(example)
    for tenant, examples in found.items():
        add_to_drop(workspace.drops / tenant, examples)
        log_info(f"{tenant}: {len(examples)} corrections by callers are in its drop")
    if waiting:
        mark_delivered(workspace.database, [number for number, _ in waiting])
    return {tenant: len(examples) for tenant, examples in found.items()}
