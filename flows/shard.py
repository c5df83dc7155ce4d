"""The flow of a worker that has the device: train and evaluate one shard's tenants together, the base loaded once.

Takes and returns plain values only, so that it can run in the parent's process or as a deployment elsewhere. It makes
no plan: it gets the fingerprints of the parent's plan, and fails a tenant that has another fingerprint here.
"""

from collections.abc import Mapping
from pathlib import Path

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

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
    """Train the tenants that have a reason for it, then evaluate all; one that fails does not stop the others.

    `fingerprints` (tenant -> fingerprint, all tenants of the shard) and `reasons` (tenant -> why it is trained) are the
    plan's.
    """
    prepare_environment(Path(workspace))
    place = Workspace(Path(workspace))
    outcomes: list[TenantOutcome] = read_result(train_all(place, fingerprints, reasons, return_state=True))
    ready = {one.tenant: fingerprints[one.tenant] for one in outcomes if one.state != "failed"}
    outcomes += read_result(evaluate_all(place, ready, return_state=True))
    troubled = sorted({outcome.tenant for outcome in outcomes if outcome.state == "failed"})
    sentence = f"{len(fingerprints) - len(troubled)} of {len(fingerprints)} tenants trained and evaluated"
    names = f"; failed: {join_abbreviated(troubled)}" if troubled else ""
    return make_end_state(f"{sentence}{names}", outcomes, failed=bool(troubled))


@task(cache_policy=NO_CACHE, task_run_name="train")
def train_all(place: Workspace, fingerprints: Mapping[str, str], reasons: Mapping[str, str]) -> ShardResult:
    """Train the shard in one pass. Not tried again: the same seed on the same data fails the same way."""
    return _to_shard_result(train.train_planned(place, fingerprints, reasons))


@task(cache_policy=NO_CACHE, task_run_name="evaluate")
def evaluate_all(place: Workspace, fingerprints: Mapping[str, str]) -> ShardResult:
    """Evaluate the shard in one pass, against the champions of today."""
    champions = place.registry.poll_aliased(CHAMPION)[CHAMPION]
    return _to_shard_result(evaluate.evaluate_shard(place, fingerprints, champions))


def _to_shard_result(outcomes: list[TenantOutcome]) -> ShardResult:
    """A failed outcome makes a failed task run, which names every tenant and its reason, and no stack trace."""
    failed = [f"{outcome.tenant}: {outcome.detail}" for outcome in outcomes if outcome.state == "failed"]
    return Failed(message=join_abbreviated(failed), data=outcomes) if failed else outcomes
