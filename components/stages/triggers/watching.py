"""One look for everything that may start a retraining, and which causes a run may begin for now."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from components.errors import WorkspaceError
from components.rollout.store.causes import Cause
from components.stages.progress import join_abbreviated
from components.stages.triggers.arrivals import look_for_arrivals
from components.stages.triggers.drift import look_for_drift
from components.stages.triggers.run_causes import find_due_causes
from components.stages.workspace import Workspace


@dataclass
class WatchLook:
    """What one look found."""

    opened: list[Cause] = field(default_factory=list)
    """New causes."""
    due: list[Cause] = field(default_factory=list)
    """Causes that a run should begin for now, new or older ones."""
    waiting: list[str] = field(default_factory=list)
    """Tenants whose files may still be written."""
    busy: str = ""
    """Why no run can begin now, though there are causes; "": one can, or there are none."""

    @property
    def sentence(self) -> str:
        """The look in one line."""
        parts = [f"{len(self.opened)} new causes"]
        parts += [f"still arriving: {join_abbreviated(self.waiting)}"] if self.waiting else []
        parts += [f"retraining {join_abbreviated(sorted({one.tenant for one in self.due}))}"] if self.due else []
        parts += [f"causes wait: {self.busy}"] if self.busy else []
        return "; ".join(parts)


def look(workspace: Workspace, now_s: Callable[[], float] = time.time) -> WatchLook:
    """Look for arrivals and drift, open their causes, and find the causes that are due.

    `now_s` returns seconds since 1970.

    Raises:
        ConfigError, WorkersError, WorkspaceError: as `look_for_arrivals`.
        RegistryError: MLflow does not answer.
    """
    arrived = look_for_arrivals(workspace, now_s)
    drifted = look_for_drift(workspace, now_s)
    due = find_due_causes(workspace, now_s)
    busy = _find_other_run(workspace) if due else ""
    return WatchLook(arrived.opened + drifted, [] if busy else due, arrived.waiting, busy)


def _find_other_run(workspace: Workspace) -> str:
    """Return which run works in this workspace; "": none."""
    try:
        with workspace.lock():
            return ""
    except WorkspaceError as problem:
        return problem.got
