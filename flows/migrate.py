"""The flow `migrate`: one wave that moves tenants to the next base. Scheduled once a night, after `nightly`."""

import time
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from components.logs import add_log_context, log_context
from components.otel.spans import open_root
from components.stages import run_log
from components.stages.migration.waves import WaveResult
from components.stages.notifications import announce_stop
from components.stages.rollout.actors import find_current_user
from components.stages.run_metrics import record_flow_end
from components.stages.sharding.code_version import read_code_version
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.events import emit_events
from flows.notifications import tell_at_end
from flows.report import publish_report
from flows.run_names import name_run
from flows.states import make_end_state
from flows.wave import run_wave

_TRIGGER = "move to the next base"


@flow(name="migrate", flow_run_name=name_run("base: move a wave"))
def migrate(workspace: str = ".") -> State[WaveResult]:
    """Train the next tenants for `next_base`, and switch over those that pass the gate. Without it, do nothing."""
    prepare_environment(Path(workspace))
    opened_workspace, began_s = Workspace(Path(workspace)), time.time()
    if opened_workspace.params.next_base is None:
        return make_end_state("no next_base in params.yaml", WaveResult(), failed=False)
    with tell_at_end(opened_workspace), opened_workspace.lock(), log_context(), open_root("migrate") as span:
        entry = begin_log(opened_workspace)
        add_log_context(run=entry)
        span.set(run=entry)
        with announce_stop(opened_workspace, entry, _TRIGGER):
            result = run_wave(opened_workspace, moves=True)
            end_log(opened_workspace, entry, result)
            publish_report(opened_workspace, entry)
        record_flow_end(opened_workspace, "migrate", began_s, result.failures)
        span.count_failed({one.tenant for one in result.failures})
    emit_events(opened_workspace)
    create_markdown_artifact(key="migration-report", markdown=make_page(result))
    return make_end_state(result.sentence, result, failed=bool(result.failures), rejected=bool(result.rejected))


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def begin_log(workspace: Workspace) -> int:
    """Record that the wave begins; return its id among the runs."""
    return run_log.begin_run_log(workspace, _TRIGGER, find_current_user(), read_code_version())


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def end_log(workspace: Workspace, entry: int, result: WaveResult) -> None:
    """Record what became of the wave's tenants, and where they were trained."""
    run_log.end_run_log(
        workspace,
        entry,
        version=workspace.dataset_version,
        reasons=result.reasons,
        planned=len(result.reasons),
        outcomes=result.outcomes,
        rejected=result.rejected,
        promoted=result.switched,
        spans=result.spans,
        for_next_base=result.reasons,
    )


def make_page(result: WaveResult) -> str:
    """Return a wave as markdown."""
    where = {tenant: f", trained by {worker}" for tenant, worker in result.workers.items()}
    lines = [f"- {tenant}: version {one}{where.get(tenant, '')}\n" for tenant, one in sorted(result.switched.items())]
    refused = [f"- **{tenant}**: {why}\n" for tenant, why in sorted(result.rejected.items())]
    failed = [f"- **{one.tenant}** failed to {one.stage}: {one.detail}\n" for one in result.failures]
    parts = (("Switched over", lines), ("Rejected by the gate", refused), ("Failed", failed))
    sections = "".join(f"\n## {head}\n\n{''.join(rows)}" for head, rows in parts if rows)
    return f"# Migration\n\n{result.sentence}\n{sections}"
