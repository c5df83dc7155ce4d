"""The flow `watch`: look for causes, and retrain the tenants that have one. Scheduled every minute.

Holds order and retries only; components/stages/triggers holds what is looked for.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from prefect import flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from components.rollout.store.causes import Cause
from components.stages.notifications import has_notifications
from components.stages.run_metrics import record_flow_end
from components.stages.triggers import run_causes, watching
from components.stages.triggers.watching import WatchLook
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.events import emit_events
from flows.notifications import send_messages
from flows.retrain import retrain
from flows.retrain_result import RetrainResult
from flows.run_names import name_run
from flows.states import make_end_state, read_result


@dataclass
class WatchResult:
    """What a look found and did."""

    look: WatchLook
    causes: list[Cause] = field(default_factory=list)
    """The causes that were retrained for."""
    run: RetrainResult | None = None
    """None: nothing was retrained."""


@flow(name="watch", flow_run_name=name_run("watch"))
def watch(workspace: str = ".") -> State[WatchResult]:
    """Take what has arrived, and retrain the tenants that have a cause. Does nothing while another run works."""
    prepare_environment(Path(workspace))
    opened_workspace, began_s = Workspace(Path(workspace)), time.time()
    result = WatchResult(look_for_causes(opened_workspace))
    record_flow_end(opened_workspace, "watch", began_s)
    if any(one.kind == "drift" for one in result.look.opened):
        emit_events(opened_workspace)
    if not result.look.due and has_notifications(opened_workspace):
        send_messages(opened_workspace)
    result.causes = result.look.due
    if not result.causes:
        return make_end_state(result.look.sentence, result, failed=False)
    trigger = run_causes.name_trigger(result.causes)
    with tags(*(f"cause:{kind}" for kind in sorted({one.kind for one in result.causes}))):
        state = retrain(workspace, sorted({one.tenant for one in result.causes}), trigger=trigger, return_state=True)
    result.run = read_result(state)
    return make_end_state(f"{result.look.sentence}; {state.message}", result, failed=state.is_failed())


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def look_for_causes(workspace: Workspace) -> WatchLook:
    """Look once. Idempotent: what was taken is not taken again."""
    return watching.look(workspace)
