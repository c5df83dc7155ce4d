"""The workers: one that runs the flows of the workspace, and those that train shards, each with a home of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from components.errors import WorkspaceError
from infra.services.addresses import FLOWS_POOL, TRAINING_POOL, get_prefect_url, make_client_environment
from infra.services.secret_file import Secrets
from infra.services.service import Service
from infra.services.settings import Settings


def describe_workers(settings: Settings, secrets: Secrets) -> Sequence[Service]:
    """Return the worker of the pool `default`, and the workers of the pool `gpu`."""
    home = settings.folder / "workers" / "cpu-1"
    environment = {**make_client_environment(settings, secrets, home), "OMP_NUM_THREADS": "1"}
    flows = Service(
        name="worker cpu-1",
        description="runs the flows in the workspace: plans, gates, registers",
        command=[
            *(sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--type", "process"),
            *("--pool", FLOWS_POOL, "--name", "cpu-1", "--install-policy", "never"),
        ],
        environment=environment,
        folder=settings.workspace,
        address=f"pool {FLOWS_POOL}",
        is_ready=lambda _: _is_online(settings, FLOWS_POOL, "cpu-1"),
        finish=lambda: _deploy_flows(settings.workspace, environment),
    )
    return [flows, *(_describe_training_worker(settings, secrets, number) for number in range(settings.gpu_workers))]


def _describe_training_worker(settings: Settings, secrets: Secrets, number: int) -> Service:
    name = f"gpu-{number + 1}"
    home = settings.folder / "workers" / name
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    threads = max(1, len(os.sched_getaffinity(0)) // settings.gpu_workers)
    device = str(number % gpus) if gpus else "none"
    return Service(
        name=f"worker {name}",
        description=f"trains shards on GPU {device}" if gpus else f"trains shards, on {threads} of the CPU's threads",
        command=[
            *(sys.executable, "-m", "cli.main", "worker", "start"),
            *("--pool", TRAINING_POOL, "--devices", device, "--home", str(home)),
        ],
        environment={
            **make_client_environment(settings, secrets, home / "prefect"),
            "OMP_NUM_THREADS": str(threads),
        },
        folder=settings.folder,
        address=f"pool {TRAINING_POOL}",
        prepare=lambda: home.mkdir(parents=True, exist_ok=True),
        is_ready=lambda pid: _is_online(settings, TRAINING_POOL, f"-gpu-{device}-" if gpus else f"-cpu-{pid}-"),
    )


def _is_online(settings: Settings, pool: str, part_of_name: str) -> bool:
    url = f"{get_prefect_url(settings)}/api/work_pools/{pool}/workers/filter"
    with suppress(httpx.HTTPError):
        answer = httpx.post(url, json={}, timeout=5)
        workers = answer.json() if answer.is_success else []
        return any(part_of_name in one["name"] and one["status"] == "ONLINE" for one in workers)
    return False


def _deploy_flows(workspace: Path, environment: Mapping[str, str]) -> None:
    """Send the workspace's prefect.yaml, with its schedules, to Prefect's server; the pool must be there."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=workspace,
        env={**environment, "PWD": str(workspace)},  # as a shell sets it; prefect.yaml names the workspace by it
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        got = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        fix = "correct it, and run `make services` again"
        raise WorkspaceError(f"the deployments of {workspace / 'prefect.yaml'}", got, fix)
