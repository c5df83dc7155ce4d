"""Run one shard on a worker: read the request, build a scratch workspace, train, evaluate, send back what was made.

Calls the same stages as a local run, so the files are the same. What is in the exchange already is not made again, and
what is made is sent as soon as it is there: a killed worker loses at most the steps since the last validation. Does
not know Prefect.
"""

from collections.abc import Callable
from pathlib import Path

from components.config import WorkersConfig
from components.otel.spans import open_span, read_parent
from components.stages.outcome import TenantOutcome
from components.stages.sharding.exchange_sets import locate_shard
from components.stages.sharding.heartbeats import Heartbeats, compute_interval_s, describe_worker
from components.stages.sharding.messages import OUTCOMES, ShardOutcomes
from components.stages.sharding.request import REQUEST, parse_request
from components.stages.sharding.scratch_folder import hold_scratch_folder
from components.stages.sharding.scratch_workspace import build_scratch_workspace
from components.stages.sharding.shard_run import ShardRun
from components.stages.sharding.uploads import BackgroundUploads
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore


def run_shard(exchange_url: str, shard_id: str, home: Path, stop: Callable[[], bool]) -> list[TenantOutcome]:
    """Train and evaluate a shard's tenants; return training's outcomes, then evaluation's. A tenant can fail alone.

    `home` holds the cache of bases and the scratch folders; several workers may share it. `stop` is asked often; once
    it is True, the states of all trainings are saved and sent, and the function returns within seconds, with failed
    outcomes for what is unfinished.

    Raises:
        WorkersError: the parent has other code, the base is another one, or the exchange or the data do not answer.
        BaseModelError: the base cannot be loaded.
        WorkspaceError: DVC fails, or the disk is full.
    """
    exchange = Exchange(ObjectStore(exchange_url))
    folder = exchange.open(*locate_shard(shard_id))
    request = parse_request(folder.get_json(REQUEST), shard_id)
    workers = request.parsed_params.workers or WorkersConfig(exchange=exchange_url)
    device, count = describe_device(), len(request.fingerprints)
    parent = read_parent(request.trace)
    with (
        open_span("shard", parent=parent, kind="consumer", shard=shard_id, tenants=count, worker=describe_worker()),
        hold_scratch_folder(home, shard_id) as scratch,
        Heartbeats(folder, compute_interval_s(workers.lost_seconds), device) as heartbeats,
        BackgroundUploads(scratch) as uploads,
    ):
        heartbeats.set_activity("fetching data and base")
        with open_span("fetch base"):
            workspace = build_scratch_workspace(request, exchange, scratch / "workspace", home.resolve() / "bases")
        outcomes = ShardRun(request, exchange, workspace, heartbeats, uploads, stop).run()
        heartbeats.set_activity("sending files")
        with open_span("send files"):
            uploads.finish(stop)
        if not stop():
            ended = ShardOutcomes(worker=describe_worker(), device=device, outcomes=outcomes)
            folder.put_json(OUTCOMES, ended.model_dump(mode="json"))
    return outcomes


def describe_device() -> str:
    """Return the kind of device that trains here."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
