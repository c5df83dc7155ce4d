"""A parent of one shard, without Prefect: sends it, lets workers run it as processes, places what they made.

Also reads what a tenant's training and evaluation left in a workspace, for comparisons.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forked_process import start_process
from processes import make_environment
from safetensors import safe_open

from components.registry.mlflow.versions import Version
from components.stages.outcome import TenantOutcome
from components.stages.plan import PlanItem, plan
from components.stages.sharding.exchange_sets import locate_shard, locate_tenant, make_evaluated_set
from components.stages.sharding.messages import OUTCOMES, ShardOutcomes
from components.stages.sharding.request import ShardRequest, write_request
from components.stages.sharding.request_building import RequestBuilder
from components.stages.sharding.transfer import place_evaluated, place_trained, send_base, send_shard
from components.stages.sharding.worker import run_shard
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange, ExchangeFolder
from components.storage.object_store import ObjectStore

_WORKER = """
import logging, sys
from pathlib import Path
from components.stages.sharding.worker import run_shard
logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
log = logging.getLogger("prefixfleet")  # the fork server has imported Prefect, which sets it up
log.handlers, log.propagate, log.disabled = [], True, False
log.setLevel(logging.INFO)
run_shard(sys.argv[1], sys.argv[2], Path(sys.argv[3]), lambda: False)
"""
_KILL_AT_UPLOAD = """
import os, signal
from components.stages.sharding.uploads import BackgroundUploads
add, added = BackgroundUploads.add, []
def add_and_die(uploads, key, upload, *, instead_of=""):
    add(uploads, key, upload, instead_of=instead_of)
    added.append(key)
    if len(added) == {number}:
        uploads.finish(lambda: False)
        os.kill(os.getpid(), signal.SIGKILL)
BackgroundUploads.add = add_and_die
"""


class ShardParent:
    """One shard of a workspace's tenants, and the exchange that it shares with workers."""

    def __init__(
        self, root: Path, tenants: Sequence[str], champions: Mapping[str, Version] | None = None, name: str = "shard-1"
    ) -> None:
        self.workspace, self.name, self.url = Workspace(root), name, (root.parent / "exchange").as_uri()
        self.exchange = Exchange(ObjectStore(self.url))
        current = plan(self.workspace)
        self.items: list[PlanItem] = [one for one in (*current.items, *current.skipped) if one.tenant in tenants]
        self.facts = current.base
        self.request: ShardRequest = RequestBuilder(self.workspace, current.base, champions or {}).build(
            self.items, name
        )

    def send(self, **changes: Any) -> None:
        """Send base, inputs and the request, with these fields changed."""
        self.request = self.request.model_copy(update=changes)
        send_base(self.workspace, self.exchange, self.request)
        send_shard(self.workspace, self.exchange, self.request, self.items)

    def send_request(self, **changes: Any) -> None:
        """Replace the request by one with these fields changed."""
        write_request(self.exchange.open(*locate_shard(self.name)), self.request.model_copy(update=changes))

    def open_tenant(self, tenant: str) -> ExchangeFolder:
        """The tenant's folder in the exchange."""
        return self.exchange.open(*locate_tenant(tenant, self.request.run_keys[tenant]))

    def start_worker(self, home: Path, *, killed_at_upload: int = 0) -> Any:
        """Start a worker as a process in an empty folder of its own.

        `killed_at_upload`: it gets SIGKILL when this many sets of files are in the exchange.
        """
        home.mkdir(exist_ok=True)
        code = _KILL_AT_UPLOAD.format(number=killed_at_upload) + _WORKER
        command = [sys.executable, "-c", code, self.url, self.name, str(home)]
        environment = {**make_environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
        return start_process(command, home, environment, stderr=subprocess.PIPE, text=True)

    def run_here(self, home: Path, stop: Callable[[], bool] = lambda: False) -> list[TenantOutcome]:
        """Run the shard in this process."""
        return run_shard(self.url, self.name, home, stop)

    def read_outcomes(self) -> dict[tuple[str, str], str] | None:
        """(Stage, tenant) -> state, from the exchange; None if the shard has not ended."""
        values = self.exchange.open(*locate_shard(self.name)).get_json(OUTCOMES)
        return None if values is None else list_states(ShardOutcomes.model_validate(values).outcomes)

    def place(self) -> None:
        """Place what workers made of all tenants."""
        for item in self.items:
            key = self.request.run_keys[item.tenant]
            assert place_trained(self.workspace, self.exchange, item, key, self.facts["digest"])
            name = make_evaluated_set(self.request, item.tenant)
            assert place_evaluated(self.workspace, self.exchange, item.tenant, key, name)


def list_states(outcomes: Sequence[TenantOutcome]) -> dict[tuple[str, str], str]:
    """(Stage, tenant) -> state."""
    return {(one.stage, one.tenant): one.state for one in outcomes}


def read_results(root: Path, tenant: str, *, resumed: bool = False) -> dict[str, Any]:
    """Name -> content of a tenant's files in out/train and out/evaluate, without when and how long it was trained.

    `resumed`: also without the step from which the training was resumed.
    """
    found: dict[str, Any] = {}
    for path in sorted(path for stage in ("train", "evaluate") for path in (root / "out" / stage / tenant).rglob("*")):
        name = path.relative_to(root / "out").as_posix()
        if path.name == "training.json":
            left_out = {"seconds", "ended_s", *(["resumed_from"] if resumed else [])}
            found[name] = {key: value for key, value in json.loads(path.read_text()).items() if key not in left_out}
        elif path.name == "train.safetensors":
            found[name] = _read_state(path)
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def _read_state(path: Path) -> Any:
    with safe_open(path, framework="np") as content:
        header = json.loads(content.metadata()["prefixfleet"])
        del header["progress"]["seconds"]
        tensors = {name: content.get_tensor(name).tobytes() for name in sorted(content.keys())}
    return header, tensors
