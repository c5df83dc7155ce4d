"""Delivers callers' corrections into drops, as examples of the next dataset version."""

from components.data.drops import add_to_drop as add_to_drop
from components.data.schema import Example, find_problem
from components.rollout.store.feedback import mark_delivered, read_corrections
from components.stages.progress import log_info, log_warning
from components.stages.rollout.cycle import hold_cycle_lock
from components.stages.workspace import Workspace

FEEDBACK_SLICE = "feedback"
"""Slice of these examples."""

_LOCK_WAIT_S = 60.0


def deliver_corrections(workspace: Workspace) -> dict[str, int]:
    """Add every undelivered correction to its tenant's drop; returns tenant -> number of added corrections.

    One process at a time does this. If it is killed and run again, no correction is added twice. A correction that is
    not a valid example is logged and skipped.

    Raises:
        WorkspaceError: the disk is full; the database does not answer; or another delivery or a cycle takes too long.
    """
    with hold_cycle_lock(workspace, wait_s=_LOCK_WAIT_S), workspace.database.lock("corrections"):
        return _deliver_locked(workspace)


def _deliver_locked(workspace: Workspace) -> dict[str, int]:
    undelivered = read_corrections(workspace.database)
    by_tenant: dict[str, list[Example]] = {}
    for _, one in undelivered:
        example = Example(one.source or "", (one.corrected or "",), FEEDBACK_SLICE)
        if reason := find_problem(example, workspace.params.data):
            log_warning(f"{one.tenant}: the correction of answer {one.request} is not a valid example: {reason}")
        else:
            by_tenant.setdefault(one.tenant, []).append(example)
    for tenant, examples in by_tenant.items():
        add_to_drop(workspace.drops / tenant, examples)
        log_info(f"{tenant}: added {len(examples)} corrections by callers to its drop")
    if undelivered:
        mark_delivered(workspace.database, [number for number, _ in undelivered])
    return {tenant: len(examples) for tenant, examples in by_tenant.items()}
