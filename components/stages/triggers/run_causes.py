"""Why a run happens, for each of its tenants: the causes that it works on, and what started the run itself.

A run begins its tenants' open causes before it takes drops, and closes them at its end, also if a tenant failed: the
same training fails in the same way again. A run that is killed or raises leaves them open for the next one.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from components.rollout.store.causes import Cause, begin_causes, close_causes, read_open_causes
from components.rollout.store.tuning_jobs import TRIGGER_START
from components.stages.outcome import TenantOutcome
from components.stages.rollout.actors import find_current_user
from components.stages.workspace import Workspace

BY_HAND = "hand"
BY_SCHEDULE = "schedule"
"""What starts a run, beside the kinds of causes."""


@dataclass(frozen=True)
class RunCauses:
    """The causes of one run."""

    trigger: str
    """What started the run: "hand", "schedule", kinds of causes, or a job of the fine-tuning API."""
    by: str
    """The user of the process."""
    open: tuple[Cause, ...]
    """The causes that the run works on, oldest first."""

    def describe(self, tenant: str) -> str:
        """Return why a tenant is trained again in this run; completes "retrained because ..."."""
        own = [one.why for one in self.open if one.tenant == tenant]
        return "; ".join([self.own_reason, *own] if not own or self._is_job else own)

    @property
    def own_reason(self) -> str:
        """What started the run, for tenants without a cause of their own."""
        if self.trigger == BY_HAND:
            return f"{self.by} started a run"
        if self._is_job:
            return f"{self.trigger} asked for it"
        return "the schedule started a run" if self.trigger == BY_SCHEDULE else f"of a run after {self.trigger}"

    @property
    def _is_job(self) -> bool:
        return self.trigger.startswith(TRIGGER_START)

    def list_lines(self) -> list[str]:
        """Return the causes as lines for a report."""
        own = [f"{one.tenant}: {one.why}" for one in self.open]
        return [self.own_reason, *own] if not own or self._is_job else own


def begin_run(
    workspace: Workspace,
    tenants: Iterable[str] | None,
    trigger: str,
    now_s: Callable[[], float] = time.time,
) -> RunCauses:
    """Begin to work on the open causes of all (or the named) tenants.

    Raises:
        WorkspaceError: the database does not answer.
    """
    causes = read_open_causes(workspace.database, tenants)
    begin_causes(workspace.database, causes, now_s())
    return RunCauses(trigger, find_current_user(), tuple(causes))


def end_run(workspace: Workspace, causes: RunCauses, outcomes: Iterable[TenantOutcome], sentence: str) -> None:
    """Close the causes of a run that has ended; `sentence` is the run's result.

    Raises:
        WorkspaceError: the database does not answer.
    """
    failures = {one.tenant: f"failed to {one.stage}: {one.detail}" for one in outcomes if one.state == "failed"}
    close_causes(workspace.database, causes.open, [failures.get(one.tenant, sentence) for one in causes.open])


def find_due_causes(workspace: Workspace, now_s: Callable[[], float] = time.time) -> list[Cause]:
    """Return the open causes for which a run may begin now, oldest first. Raises WorkspaceError."""
    return [one for one in read_open_causes(workspace.database) if one.is_due(now_s())]


def name_trigger(causes: Sequence[Cause]) -> str:
    """Return what starts a run for these causes: their kinds."""
    return " and ".join(sorted({one.kind for one in causes}))
