"""`make demo-fleet`: the built-in tenants, trained by the workers of `make services`, and which worker trained which.

`python -m infra.services.demo_fleet WORKSPACE`, in the services' environment.
"""

import sys
from pathlib import Path

from cli.console import show_error, show_progress
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

_SHARDS = "shards/"


def main(root: Path) -> int:
    """Take the tenants' drops, retrain, and show results and workers; returns the exit code."""
    prepare_environment(root)
    try:
        with show_progress():
            workspace = Workspace(root)
            tenants = write_builtin_drops(workspace)
            run_flow("dataset", root, tenants)
            run = retrain_local(root, choose_demo_tenants(workspace, tenants))
        print_run(run)
        rows = read_trainings(ObjectStore(workspace.params.workers.exchange)) if workspace.params.workers else []
        print_table("Who trained what", ("tenant", "worker", "device"), rows)
        raise_on_failures(run.outcomes)
    except PrefixFleetError as problem:
        show_error(problem)
        return 2
    return 0


def read_trainings(store: ObjectStore) -> list[tuple[str, str, str]]:
    """Return tenant, worker and kind of device of each tenant's last training whose shard is still in the exchange."""
    written = store.list_keys(_SHARDS)
    oldest_first = sorted(written, key=lambda key: written[key])
    found = {}
    for shard in dict.fromkeys(key.split("/")[1] for key in reversed(oldest_first)):
        values = Exchange(store).open(*locate_shard(shard)).get_json(OUTCOMES)
        if values is not None:
            ended = ShardOutcomes.model_validate(values)
            trained = [one.tenant for one in ended.outcomes if (one.stage, one.state) == ("train", "done")]
            found.update({tenant: (tenant, ended.worker, ended.device) for tenant in trained if tenant not in found})
    return sorted(found.values())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
