"""The flow `dataset`: check drops, make a dataset version, push it. A failure leaves the last version and the drops."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from components.data.intake import IntakeResult
from components.otel.spans import open_root
from components.stages import dataset as stage
from components.stages.last_failures import record_outcomes
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.run_names import name_run
from flows.states import make_end_state


@flow(name="dataset", flow_run_name=name_run("take drops of"))
def dataset(workspace: str = ".", tenants: list[str] | None = None) -> State[IntakeResult]:
    """Check the drop of every (or each named) tenant, and take the accepted ones into a new dataset version."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    with opened_workspace.lock(), open_root("dataset") as span:
        result = ingest_drops(opened_workspace, tenants)
        record_outcomes(opened_workspace, stage.to_outcomes(result))
        span.set(dataset_version=result.version)
        span.count_failed(result.refused)
    sentence = stage.summarize_intake(result)
    publish_report(sentence, result.refused)
    return make_end_state(sentence, result, failed=bool(result.refused))


@task(cache_policy=NO_CACHE, timeout_seconds=3600)
def ingest_drops(workspace: Workspace, tenants: list[str] | None) -> IntakeResult:
    """Check, quarantine, swap, record and push in one atomic step."""
    return stage.ingest_drops(workspace, tenants)


@task(cache_policy=NO_CACHE)
def publish_report(sentence: str, refused: dict[str, str]) -> None:
    """Create the artifact `dataset-report`."""
    reasons = "".join(f"- **{tenant}** refused: {reason}\n" for tenant, reason in refused.items())
    create_markdown_artifact(key="dataset-report", markdown=f"# Dataset\n\n{sentence}\n\n{reasons}")
