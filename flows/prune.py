"""The flow `prune`: removes old versions and runs, as the section `retention` says. Scheduled once a week."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from components.stages.retention.prune import PrunedTenant, summarize_pruning
from components.stages.retention.prune import prune as stage
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.run_names import name_run
from flows.states import make_end_state


@flow(name="prune", flow_run_name=name_run("prune"))
def prune(workspace: str = ".", by: str = "prefect") -> State[list[PrunedTenant]]:
    """Remove what `retention` does not keep. Without that section, remove nothing."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    if opened_workspace.params.retention is None:
        return make_end_state("no section retention in params.yaml: nothing is removed", [], failed=False)
    pruned = stage(opened_workspace, by=by)
    return make_end_state(summarize_pruning(pruned, dry_run=False), pruned, failed=False)
