"""The flow of the worker that has the device: train and evaluate one shard's tenants together with one loaded base.

Takes and returns plain values only, so that it can run in the parent's process or as a deployment on another machine.
Makes no plan: it gets the fingerprints of the parent's plan and fails a tenant that has another fingerprint here.
"""

from collections.abc import Mapping
from pathlib import Path

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from components.otel.spans import open_span
from components.registry.mlflow.versions import CHAMPION
from components.stages import evaluate, train
from components.stages.outcome import TenantOutcome
from components.stages.progress import join_abbreviated
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.states import make_end_state, read_result

ShardResult = list[TenantOutcome] | State[list[TenantOutcome]]


def _make_run_name() -> str:
    return f"shard of {join_abbreviated(list(runtime.flow_run.parameters['fingerprints']))}"


@flow(name="shard", flow_run_name=_make_run_name, validate_parameters=False)
def shard(workspace: str, fingerprints: dict[str, str], reasons: dict[str, str]) -> State[list[TenantOutcome]]:
    """Train the tenants in `reasons`, then evaluate all. A tenant that fails does not stop the others.

    `fingerprints` (tenant -> fingerprint, all tenants of the shard) and `reasons` (tenant -> why it needs training)
    come from the parent's plan.
    """
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    outcomes: list[TenantOutcome]
    with open_span("shard", tenants=len(fingerprints)) as span:
        outcomes = read_result(train_all(opened_workspace, fingerprints, reasons, return_state=True))
        ready = {one.tenant: fingerprints[one.tenant] for one in outcomes if one.state != "failed"}
        outcomes += read_result(evaluate_all(opened_workspace, ready, return_state=True))
        failed = sorted({outcome.tenant for outcome in outcomes if outcome.state == "failed"})
        span.count_failed(failed)
    sentence = f"{len(fingerprints) - len(failed)} of {len(fingerprints)} tenants trained and evaluated"
    names = f"; failed: {join_abbreviated(failed)}" if failed else ""
    return make_end_state(f"{sentence}{names}", outcomes, failed=bool(failed))


@task(cache_policy=NO_CACHE, task_run_name="train")
def train_all(workspace: Workspace, fingerprints: Mapping[str, str], reasons: Mapping[str, str]) -> ShardResult:
    """Train the shard in one pass. No retries: the same seed on the same data fails in the same way."""
    return _to_shard_result(train.train_planned(workspace, fingerprints, reasons))


@task(cache_policy=NO_CACHE, task_run_name="evaluate")
def evaluate_all(workspace: Workspace, fingerprints: Mapping[str, str]) -> ShardResult:
    """Evaluate the shard in one pass, compared with the present champions."""
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    return _to_shard_result(evaluate.evaluate_shard(workspace, fingerprints, champions))


def _to_shard_result(outcomes: list[TenantOutcome]) -> ShardResult:
    """Return a failed state if an outcome failed; its message names tenants and reasons instead of a stack trace."""
    failed = [f"{outcome.tenant}: {outcome.detail}" for outcome in outcomes if outcome.state == "failed"]
    return Failed(message=join_abbreviated(failed), data=outcomes) if failed else outcomes
