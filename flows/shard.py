"""The flow of a worker that has the device: train and evaluate one shard's tenants together, the base loaded once.

Takes and returns names and plain values only, so that it can run in the parent's process or as a deployment elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from components.registry.mlflow.versions import CHAMPION
from components.stages import evaluate, train
from components.stages.outcome import TenantOutcome
from components.stages.plan import PlanItem, plan, plan_tenant
from components.stages.progress import join_abbreviated
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.states import make_end_state, read_result

ShardResult = list[TenantOutcome] | State[list[TenantOutcome]]


def _make_run_name() -> str:
    return f"shard of {join_abbreviated(runtime.flow_run.parameters['tenants'])}"


@flow(name="shard", flow_run_name=_make_run_name, validate_parameters=False)
def shard(workspace: str, tenants: list[str]) -> State[list[TenantOutcome]]:
    """Train the tenants whose prefix does not stand, then evaluate all; one that fails does not stop the others."""
    prepare_environment(Path(workspace))
    place = Workspace(Path(workspace))
    todo = plan(place, tenants)
    outcomes = [TenantOutcome(item.tenant, "train", "stood") for item in todo.skipped]
    outcomes += read_result(train_all(place, todo.items, return_state=True))
    ready = [outcome.tenant for outcome in outcomes if outcome.state != "failed"]
    outcomes += read_result(evaluate_all(place, ready, todo.base["digest"], return_state=True))
    troubled = sorted({outcome.tenant for outcome in outcomes if outcome.state == "failed"})
    sentence = f"{len(tenants) - len(troubled)} of {len(tenants)} tenants trained and evaluated"
    names = f"; failed: {join_abbreviated(troubled)}" if troubled else ""
    return make_end_state(f"{sentence}{names}", outcomes, failed=bool(troubled))


@task(cache_policy=NO_CACHE, task_run_name="train")
def train_all(place: Workspace, items: Sequence[PlanItem]) -> ShardResult:
    """Train the shard in one pass. Not tried again: the same seed on the same data fails the same way."""
    return _to_shard_result(train.train_shard(place, items))


@task(cache_policy=NO_CACHE, task_run_name="evaluate")
def evaluate_all(place: Workspace, tenants: Sequence[str], base_digest: str) -> ShardResult:
    """Evaluate the shard in one pass, against the champions of today."""
    prints: dict[str, str | None] = {}
    items = [plan_tenant(place, tenant, base_digest, prints) for tenant in tenants]
    return _to_shard_result(evaluate.evaluate_shard(place, items, place.registry.poll_aliased(CHAMPION)[CHAMPION]))


def _to_shard_result(outcomes: list[TenantOutcome]) -> ShardResult:
    """A failed outcome makes a failed task run, which names every tenant and its reason, and no stack trace."""
    failed = [f"{outcome.tenant}: {outcome.detail}" for outcome in outcomes if outcome.state == "failed"]
    return Failed(message=join_abbreviated(failed), data=outcomes) if failed else outcomes
