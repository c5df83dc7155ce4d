"""The flow `prune`: removes what is old, as the section `retention` says. Scheduled once a week."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from components.stages.retention.prune import prune as stage
from components.stages.retention.result import PruneResult, make_rows, summarize_pruning
from components.stages.workspace import Workspace
from flows.actors import make_actor
from flows.environment import prepare_environment
from flows.run_names import name_run
from flows.states import make_end_state


@flow(name="prune", flow_run_name=name_run("prune"))
def prune(workspace: str = ".", by: str = "prefect", dry_run: bool = False) -> State[PruneResult]:
    """Remove what `retention` does not keep; with `dry_run` only find it. Without that section, remove nothing."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    if opened_workspace.params.retention is None:
        return make_end_state("no section retention in params.yaml: nothing is removed", PruneResult(), failed=False)
    pruned = stage(opened_workspace, by=make_actor(by), dry_run=dry_run)
    table = [dict(zip(("tenant", "what", "number", "bytes"), row, strict=True)) for row in make_rows(pruned)]
    sentence = summarize_pruning(pruned, dry_run=dry_run)
    create_table_artifact(key="pruned", table=table, description=sentence)
    return make_end_state(sentence, pruned, failed=False)
