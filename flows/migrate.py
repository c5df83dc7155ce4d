"""The flow `migrate`: one wave that moves tenants to the next base. Scheduled once a night, after `nightly`."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State

from components.stages.migration.waves import WaveResult
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.events import emit_events
from flows.run_names import name_run
from flows.states import make_end_state
from flows.wave import run_wave


@flow(name="migrate", flow_run_name=name_run("base: move a wave"))
def migrate(workspace: str = ".") -> State[WaveResult]:
    """Train the next tenants for `next_base`, and switch over those that pass the gate. Without it, do nothing."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    if opened_workspace.params.next_base is None:
        return make_end_state("no next_base in params.yaml", WaveResult(), failed=False)
    with opened_workspace.lock():
        result = run_wave(opened_workspace, moves=True)
    emit_events(opened_workspace)
    create_markdown_artifact(key="migration-report", markdown=make_page(result))
    return make_end_state(result.sentence, result, failed=bool(result.failures), rejected=bool(result.rejected))


def make_page(result: WaveResult) -> str:
    """Return a wave as markdown."""
    where = {tenant: f", trained by {worker}" for tenant, worker in result.workers.items()}
    lines = [f"- {tenant}: version {one}{where.get(tenant, '')}\n" for tenant, one in sorted(result.switched.items())]
    refused = [f"- **{tenant}**: {why}\n" for tenant, why in sorted(result.rejected.items())]
    failed = [f"- **{one.tenant}** failed to {one.stage}: {one.detail}\n" for one in result.failures]
    parts = (("Switched over", lines), ("Rejected by the gate", refused), ("Failed", failed))
    sections = "".join(f"\n## {head}\n\n{''.join(rows)}" for head, rows in parts if rows)
    return f"# Migration\n\n{result.sentence}\n{sections}"
