"""A fleet's services and training workers as on machines of their own, and what a test does to them.

Prefect's server and MLflow's are on PostgreSQL, files on an S3 API. A worker has a home of its own, no folder in common
with the parent, and a network link of its own to Prefect and S3. `worker_faults` says what else can happen to it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from flaky_proxy import FlakyProxy, run_flaky_proxy
from forked_children import start_child
from forked_process import start_process
from free_settings import write_settings
from network_link import open_link
from processes import DVC, PREFIXFLEET
from waiting import wait_until
from worker_process import Worker
from worker_processes import fork_shards

from components.stages.base import read_base_facts
from components.stages.workspace import Workspace
from infra.services import processes
from infra.services.addresses import (
    get_mlflow_url,
    get_prefect_url,
    get_s3_url,
    make_plain_environment,
    make_s3_environment,
)
from infra.services.process_table import ProcessTable
from infra.services.secret_file import Secrets, read_secrets
from infra.services.servers import describe_mlflow, describe_prefect
from infra.services.settings import PROJECT, Settings
from infra.services.start import start_services, stop_services
from infra.services.stores import describe_postgresql, describe_s3

POOL = "gpu"
_FAULTS_CODE = Path(__file__).with_name("worker_faults")
_ENGINE = f"import sys; sys.path.insert(0, {str(_FAULTS_CODE)!r}); import forked_engine"
_AS_HERE = {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
"""Without it the servers could not be forked."""
_SCHEDULES_NOTHING = {**_AS_HERE, "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}


class Fleet:
    """The services, and how parents and workers are started."""

    def __init__(self, folder: Path, settings: Settings, secrets: Secrets, store: FlakyProxy, stack: ExitStack) -> None:
        self.folder, self.settings, self.store, self._stack = folder, settings, store, stack
        self._secrets = secrets
        self.faults = folder / "faults"
        """The folder that `worker_faults` obeys."""
        self.workers: dict[str, Worker] = {}
        self._store_port = int(store.url.rpartition(":")[2])

    @property
    def prefect_api(self) -> str:
        """The address of Prefect's API."""
        return f"{get_prefect_url(self.settings)}/api"

    def make_environment(
        self, home: Path, *, prefect_port: int = 0, s3_port: int = 0, code: Path = PROJECT
    ) -> dict[str, str]:
        """The environment of a machine with a home of its own."""
        home.mkdir(parents=True, exist_ok=True)
        s3 = make_s3_environment(self.settings, self._secrets)
        return {
            **make_plain_environment(),
            **s3,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{s3_port or self._store_port}",
            "HF_HUB_OFFLINE": "1",
            "HOME": str(home),
            "MLFLOW_TRACKING_URI": get_mlflow_url(self.settings),
            "OMP_NUM_THREADS": "1",
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect_port or self.settings.prefect_port}/api",
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(code),
            "XDG_CACHE_HOME": str(home / "cache"),
        }

    def make_workspace(self, make_checkout_in: Any, tenants: Sequence[str], **workers: Any) -> Path:
        """Make a parent's workspace whose data are in the DVC remote on S3, and whose shards go to the workers."""
        folder = Path(tempfile.mkdtemp(prefix="parent-", dir=self.folder))
        section = {"exchange": f"s3://exchange/{folder.name}", "pools": {"gpu": POOL}, "max_shards": 3, **workers}
        train = {"max_steps": 8, "validate_every": 2}
        root: Path = make_checkout_in(folder, tenants, train=train, workers=section)
        read_base_facts(Workspace(root))  # or each parent would import torch to load the base
        config = root / ".dvc" / "config"
        remote = f"['remote \"s3\"']\n    url = s3://dvc\n    endpointurl = {self.store.url}\n"
        config.write_text(config.read_text().replace("remote = local", "remote = s3") + remote)
        with start_process([DVC, "push", "-q"], root, self.make_environment(folder / "home")) as push:
            assert push.wait() == 0
        return root

    @contextmanager
    def start_parent(self, root: Path, **variables: str) -> Iterator[Any]:
        """Start `prefixfleet retrain` in a workspace; killed after the block."""
        environment = {**self.make_environment(root.parent / "home"), **variables}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = start_process(
            [PREFIXFLEET, "retrain"], root, environment, text=True, start_new_session=True, **streams
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def start_worker(self, name: str, *, code: Path = PROJECT, variables: Mapping[str, str] | None = None) -> Worker:
        """Start a worker, and wait until it takes shards."""
        home = self.folder / "workers" / name
        prefect, s3 = (
            self._stack.enter_context(open_link(port)) for port in (self.settings.prefect_port, self._store_port)
        )
        environment = self.make_environment(home, prefect_port=prefect.port, s3_port=s3.port, code=code)
        environment["PYTHONPATH"] += f"{os.pathsep}{_FAULTS_CODE}"
        environment |= {"TEST_FAULTS": str(self.faults), "TEST_WORKER": name, **(variables or {})}
        log = home / "worker.log"
        with log.open("ab") as output:
            options = ("--pool", POOL, "--devices", "none", "--home", str(home))
            command = [sys.executable, "-m", "cli.main", "worker", "start", *options]
            streams = {"stdout": output, "stderr": subprocess.STDOUT}
            process = start_process(command, home, environment, start_new_session=True, **streams)
        worker = self.workers[name] = Worker(name, process, [prefect, s3], log)
        self._stack.callback(worker.kill)
        wait_until(lambda: self._is_online(process), f"worker {name}; its log: {log}", pause_s=0.3)
        return worker

    def _is_online(self, process: Any) -> bool:
        assert process.poll() is None
        found = self.ask(f"/work_pools/{POOL}/workers/filter")
        return any(f"-{process.pid}-" in one["name"] and one["status"] == "ONLINE" for one in found)

    def ask(self, path: str, **body: Any) -> Any:
        """Post a question to Prefect's API."""
        answer = httpx.post(f"{self.prefect_api}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def list_runs(self, flow: str, *states: str) -> list[dict[str, Any]]:
        """The runs of a flow in Prefect, in one of these states (type), newest first."""
        asked = {"state": {"type": {"any_": list(states)}}} if states else {}
        flows = {"name": {"any_": [flow]}}
        found: list[dict[str, Any]] = self.ask(
            "/flow_runs/filter", flow_runs=asked, flows=flows, sort="START_TIME_DESC"
        )
        return found

    def cancel(self, run: Mapping[str, Any]) -> None:
        """Cancel a run as Prefect's page does."""
        self.ask(f"/flow_runs/{run['id']}/set_state", state={"type": "CANCELLING"}, force=True)

    def wait_for_states(self, root: Path, tenants: Sequence[str]) -> None:
        """Wait until the training state of every tenant is in the exchange of a workspace."""
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
        store = boto3.client("s3", endpoint_url=get_s3_url(self.settings), **keys)

        def has_state(tenant: str) -> bool:
            found = store.list_objects_v2(Bucket="exchange", Prefix=f"{root.parent.name}/tenants/{tenant}/")
            return any(one["Key"].endswith("/state/listing.json") for one in found.get("Contents", ()))

        wait_until(lambda: all(map(has_state, tenants)), "the states of all trainings")

    def read_notes(self, event: str) -> list[tuple[str, str, int]]:
        """Worker, tenant and step of every event of this kind since the last `clear_faults`."""
        file = self.faults / "notes"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(worker, tenant, int(step)) for worker, kind, tenant, step in lines if kind == event]

    def wait_for_note(self, worker: str, tenant: str, step: int) -> None:
        """Wait until a worker has validated a tenant at a step."""
        what = f"{worker} to validate {tenant} at step {step}"
        wait_until(lambda: (worker, tenant, step) in self.read_notes("validated"), what)

    def clear_faults(self) -> None:
        """Remove all notes and faults."""
        shutil.rmtree(self.faults, ignore_errors=True)
        self.faults.mkdir()

    def count_versions(self, tenant: str) -> int:
        """The number of a tenant's versions in MLflow."""
        url = f"{get_mlflow_url(self.settings)}/api/2.0/mlflow/model-versions/search"
        answer = httpx.get(url, params={"filter": f"name='prefix-{tenant}'"}, timeout=60)
        answer.raise_for_status()
        return len(answer.json().get("model_versions", ()))


@contextmanager
def run_fleet() -> Iterator[Fleet]:
    """Start the services on free ports in a temporary folder; everything is ended after the block."""
    folder = Path(tempfile.mkdtemp(prefix="prefixfleet-workers-"))
    folder.chmod(0o755)  # PostgreSQL's user must enter it
    settings = write_settings(folder)
    secrets, table = read_secrets(folder), ProcessTable(folder)
    prefect, mlflow = describe_prefect(settings, secrets), describe_mlflow(settings, secrets)
    services = [
        [describe_postgresql(settings, secrets), *describe_s3(settings, secrets)],
        [
            replace(prefect, environment={**prefect.environment, **_SCHEDULES_NOTHING}, finish=lambda: None),
            replace(mlflow, environment={**mlflow.environment, **_AS_HERE}),
        ],
    ]
    try:
        with ExitStack() as stack:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(processes, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start_child}))
                start_services(settings, services, table, lambda _: None)
            store = stack.enter_context(run_flaky_proxy(get_s3_url(settings)))
            fleet = Fleet(folder, settings, secrets, store, stack)
            fleet.clear_faults()
            pool = {"name": POOL, "type": "process"}
            httpx.post(f"{fleet.prefect_api}/work_pools/", json=pool, timeout=60).raise_for_status()
            fork_shards(fleet.prefect_api, POOL, folder / "engine", ("-c", _ENGINE))
            yield fleet
    finally:
        stop_services(table, lambda _: None)
        shutil.rmtree(folder, ignore_errors=True)
