"""`make demo-fleet`: the built-in tenants, trained by the workers of `make services`, and which worker trained which.

`python -m infra.services.demo_fleet FOLDER`, with the services' folder, in their environment.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from cli.messages import show_error, show_progress
from cli.output import print_table
from cli.runs import print_run
from components.errors import PrefixFleetError
from components.stages.commands.demo import choose_demo_tenants, write_builtin_drops
from components.stages.outcome import raise_on_failures
from components.stages.sharding.exchange_sets import locate_shard
from components.stages.sharding.messages import OUTCOMES, ShardOutcomes
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore
from flows.environment import prepare_environment
from flows.retraining import retrain_local
from flows.run_local import run_flow
from infra.services.addresses import get_prefect_url
from infra.services.process_table import ProcessTable
from infra.services.settings import read_settings

_SHARDS = "shards/"
_WORKER_LABEL = "prefect.worker.name"


def main(folder: Path) -> int:
    """Take the tenants' drops, retrain, and show results and workers; returns the exit code."""
    settings = read_settings(folder)
    root = settings.workspace
    prepare_environment(root)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # Prefect's lines repeat ours
    try:
        with show_progress():
            workspace = Workspace(root)
            tenants = write_builtin_drops(workspace)
            run_flow("dataset", root, tenants)
            run = retrain_local(root, choose_demo_tenants(workspace, tenants))
        print_run(run)
        if workspace.params.workers is not None:
            names = partial(find_worker, f"{get_prefect_url(settings)}/api", ProcessTable(folder))
            rows = read_trainings(ObjectStore(workspace.params.workers.exchange), names)
            print_table("Who trained what", ("tenant", "worker", "device"), rows)
        raise_on_failures(run.outcomes)
    except PrefixFleetError as problem:
        show_error(problem)
        return 2
    return 0


def find_worker(api: str, table: ProcessTable, shard: str) -> str | None:
    """Return the name of the worker that had a shard: the service's, else Prefect's; None if Prefect does not know."""
    from flows.worker_pool import SHARD_TAG  # not earlier: Prefect reads its settings on import

    asked = {"flow_runs": {"tags": {"all_": [f"{SHARD_TAG}{shard}"]}}}
    try:
        runs = httpx.post(f"{api}/flow_runs/filter", json=asked, timeout=60).raise_for_status().json()
    except httpx.HTTPError:
        return None
    name = next((run["labels"].get(_WORKER_LABEL) for run in runs), None)
    services = [key for key, one in table.list_all() if name and f"-cpu-{one.process.pid}-" in name]
    return services[0] if services else name


def read_trainings(store: ObjectStore, name_worker: Callable[[str], str | None]) -> list[tuple[str, str, str]]:
    """Return tenant, worker and kind of device of each tenant's last training whose shard is still in the exchange."""
    written = store.list_keys(_SHARDS)
    oldest_first = sorted(written, key=lambda key: written[key])
    found = {}
    for shard in dict.fromkeys(key.split("/")[1] for key in reversed(oldest_first)):
        values = Exchange(store).open(*locate_shard(shard)).get_json(OUTCOMES)
        if values is not None:
            ended = ShardOutcomes.model_validate(values)
            trained = [one.tenant for one in ended.outcomes if (one.stage, one.state) == ("train", "done")]
            row = name_worker(shard) or ended.worker, ended.device
            found.update({tenant: (tenant, *row) for tenant in trained if tenant not in found})
    return sorted(found.values())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
