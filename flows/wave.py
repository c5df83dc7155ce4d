"""One wave of a migration to the next base: trained on workers, if params.yaml names some, else in this process."""

from collections.abc import Collection, Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from components.registry.mlflow.versions import Version
from components.stages.migration import waves
from components.stages.migration.waves import TrainedBatch, WaveResult, train_here
from components.stages.next_base_view import NextBaseView
from components.stages.plan import Plan
from components.stages.workspace import Workspace


@task(cache_policy=NO_CACHE)
def run_wave(workspace: Workspace, *, moves: bool, tenants: Collection[str] | None = None) -> WaveResult:
    """Run one wave, of all tenants or the named ones; with `moves` off only for tenants that have moved and changed."""
    config = workspace.params.workers
    if config is None:
        return waves.run_wave(workspace, moves=moves, tenants=tenants)
    size = waves.BATCH_SIZE * config.max_shards
    return waves.run_wave(workspace, moves=moves, tenants=tenants, train_batch=train_batch_on_workers, batch_size=size)


def train_batch_on_workers(view: NextBaseView, batch: Plan, champions: Mapping[str, Version]) -> TrainedBatch:
    """Train and evaluate a batch on the workers, and here what no worker took if `workers.fallback` says so."""
    from flows.dispatch import train_on_workers

    config = view.params.workers
    assert config is not None  # noqa: S101 - `run_wave` has checked it
    sent = train_on_workers(view, batch, config, champions)
    if not sent.remaining:
        return TrainedBatch(sent.outcomes, sent.workers, dict(sent.spans))
    taken = batch.collect_fingerprints().keys() - set(sent.remaining)
    own = train_here(view, batch.leave_out(taken), champions)
    return TrainedBatch(sent.outcomes + own.outcomes, sent.workers, sent.spans | own.spans)
