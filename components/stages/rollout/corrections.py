"""Callers' corrections into drops: what somebody would rather have read is an example of the next dataset version."""

from components.data.drops import deliver as add_to_drop
from components.data.schema import Example, problem_of
from components.rollout.store.feedback import corrections, delivered
from components.stages.progress import tell, warn
from components.stages.rollout.cycle import between_cycles
from components.stages.workspace import Workspace

SLICE = "feedback"
"""Slice of the examples made so."""

_PATIENCE_S = 60.0


def deliver(workspace: Workspace) -> dict[str, int]:
    """Put every correction not yet delivered into its tenant's drop, one process at a time; returns how many a tenant.

    Killed in between, it finds what it had put there and puts it there no second time; nor does an intake take what it
    has. What no example may be is told and left behind.

    Raises:
        WorkspaceError: the disk is full, the database does not answer, or another delivery or a cycle does not end.
    """
    with between_cycles(workspace, wait_s=_PATIENCE_S), workspace.database.turn("corrections"):
        return _deliver(workspace)


def _deliver(workspace: Workspace) -> dict[str, int]:
    waiting = corrections(workspace.database)
    found: dict[str, list[Example]] = {}
    for _, one in waiting:
        example = Example(one.source or "", (one.corrected or "",), SLICE)
        if reason := problem_of(example, workspace.params.data):
            warn(f"{one.tenant}: the correction of answer {one.request} is no example: {reason}")
        else:
            found.setdefault(one.tenant, []).append(example)
    for tenant, examples in found.items():
        add_to_drop(workspace.drops / tenant, examples)
        tell(f"{tenant}: {len(examples)} corrections by callers are in its drop")
    if waiting:
        delivered(workspace.database, [number for number, _ in waiting])
    return {tenant: len(examples) for tenant, examples in found.items()}
