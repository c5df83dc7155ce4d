"""A fleet's night on workers, without training: 10,000 tenants, 500 with new data, four workers, all services real.

    python benchmarks/fleet_night.py [--tenants 100 1000 10000] [--changed 500] [--workers 4] [--keep FOLDER]

PostgreSQL, an S3 API, MLflow's server on both, Prefect's server on PostgreSQL and the workers are those of
`make services`, in a folder of their own. Training and decoding are replaced by a cost model
(`harness/modelled_training.py`): a tenant takes `--seconds` on its worker. All else is real: DVC, S3, scores, gate,
registration, rollout. "Outside training" is the whole time of `prefixfleet retrain` less the modelled training time
of a worker's equal share. With `--here` the night runs without workers, in one process.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.modelled_training import SECONDS_VARIABLE, install
from harness.workspaces import make_tenant_ids, write_data, write_workspace

PROJECT = Path(__file__).resolve().parents[1]
_START_MODELLED = PROJECT / "benchmarks" / "harness" / "start_modelled"
_WORKERS = {"exchange": "s3://exchange/night", "max_shards": 8, "target_minutes": 0.5, "lost_seconds": 120.0}
_LEFT_OUT = ("serve", "worker cpu-1")
"""Services of `make services` that a night does not need."""
_WORKER = "worker "


@dataclass(frozen=True)
class NightResult:
    """What one night took."""

    tenants: int
    changed: int
    seconds: float
    training_seconds: float
    """Modelled training of one worker's equal share."""
    peak_mb: float
    sentence: str


def main() -> None:
    """Run a night at every size, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--changed", type=int, default=500, help="tenants with new data; at most half of all")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5, help="modelled training time of a tenant")
    parser.add_argument("--here", action="store_true", help="without workers")
    parser.add_argument("--keep", type=Path, help="folder for the services and fleets; default: a temporary one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for count in chosen.tenants:
            folder = (chosen.keep or Path(scratch)) / str(count)
            night = _measure(folder, count, min(chosen.changed, count // 2), chosen)
            outside = night.seconds - night.training_seconds
            print(
                f"{night.tenants:,} tenants, {night.changed} changed: {night.seconds:.0f} s, outside training "
                f"{outside:.0f} s; peak memory of the parent {night.peak_mb:,.0f} MB; {night.sentence}; "
                f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
                flush=True,
            )


def _measure(folder: Path, count: int, changed: int, chosen: argparse.Namespace) -> NightResult:
    with _run_services(folder, 0 if chosen.here else chosen.workers, chosen.seconds) as (environment, database):
        root, tenants = folder / "fleet", make_tenant_ids(count)
        if not root.exists():
            started = time.perf_counter()
            os.environ.update(environment)
            _make_fleet(root, tenants[:changed], tenants[changed:], database, here=chosen.here)
            print(f"first state of {count:,} tenants: {time.perf_counter() - started:.0f} s", flush=True)
        write_data(root / "drops", tenants[:changed], seed=time.time_ns())
        command = [sys.executable, "-m", "cli.main", "-C", str(root), "retrain"]
        started = time.perf_counter()
        night = subprocess.Popen(
            command,
            env=_add_model(environment, chosen.seconds) if chosen.here else environment,
            stdout=subprocess.PIPE,
            stderr=(folder / "night.log").open("wb"),
            text=True,
        )
        peak_mb = _watch_memory(night)
        seconds = time.perf_counter() - started
        printed = night.stdout.read() if night.stdout else ""
        if night.returncode:
            raise SystemExit(f"exit code {night.returncode}; see {folder / 'night.log'}\n{printed}")
        workers = 1 if chosen.here else chosen.workers
        share = changed * chosen.seconds / workers
        return NightResult(count, changed, seconds, share, peak_mb, printed.strip().splitlines()[-1])


def _watch_memory(process: "subprocess.Popen[str]") -> float:
    """Wait until a process ends; return its peak memory in MB."""
    peak_kib, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        lines = status.read_text().splitlines() if status.exists() else []
        peak_kib = max([peak_kib, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.2)
    return peak_kib / 1024


@contextmanager
def _run_services(folder: Path, workers: int, seconds: float) -> Iterator[tuple[dict[str, str], str]]:
    """Start the services; yield the environment of their clients and the URL of MLflow's database."""
    sys.path.insert(0, str(PROJECT))
    from infra.services.addresses import make_client_environment, make_database_url
    from infra.services.catalogue import list_services
    from infra.services.process_table import ProcessTable
    from infra.services.secret_file import read_secrets
    from infra.services.settings import read_settings
    from infra.services.start import start_services, stop_services

    folder.mkdir(parents=True, exist_ok=True)
    ports = ("postgresql_port", "s3_port", "mlflow_port", "prefect_port", "serve_port", "ceph_monitor_port")
    settings = read_settings(folder / "services").model_copy(
        update={"gpu_workers": max(1, workers), **dict(zip(ports, _find_free_ports(len(ports)), strict=True))}
    )
    secrets = read_secrets(settings.folder)
    services = list_services(settings, secrets)
    training = [one.name for wave in services for one in wave if one.name.startswith(_WORKER)]
    left_out = {*_LEFT_OUT, *(training if not workers else ())}
    waves = [
        [replace(one, environment=_add_model(one.environment, seconds)) for one in wave if one.name not in left_out]
        for wave in services
    ]
    table = ProcessTable(settings.folder)
    try:
        start_services(settings, waves, table, lambda line: print(line, file=sys.stderr, flush=True))
        environment = make_client_environment(settings, secrets, folder / "prefect")
        yield environment, make_database_url(settings, "postgresql+psycopg2", "mlflow", secrets.mlflow_password)
    finally:
        stop_services(table, lambda _: None)


def _add_model(environment: "dict[str, str]", seconds: float) -> dict[str, str]:
    """Return the environment of a process whose training is modelled."""
    path = os.pathsep.join([str(_START_MODELLED), environment.get("PYTHONPATH", "")])
    return {**environment, "PYTHONPATH": path, SECONDS_VARIABLE: str(seconds)}


def _make_fleet(root: Path, changing: Sequence[str], others: Sequence[str], database: str, *, here: bool) -> None:
    from harness.fleet_states import make_fleet_state
    from nightly_retrain import PARAMS

    from components.stages import dataset
    from components.stages.workspace import Workspace

    os.environ[SECONDS_VARIABLE] = "0"
    install()
    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    params = {**PARAMS, "registry": {"tracking_uri": os.environ["MLFLOW_TRACKING_URI"]}}
    write_workspace(unfinished, [*changing, *others], params if here else {**params, "workers": _WORKERS})
    (unfinished / "data.dvc").unlink()
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(PROJECT / name, unfinished / name)
    for command in ("git init -q", "dvc init -q"):
        subprocess.run(command.split(), cwd=unfinished, check=True)
    shutil.copytree(PROJECT / ".dvc" / "plots", unfinished / ".dvc" / "plots")
    for command in (
        "dvc remote add -q -d store s3://dvc/night",
        f"dvc remote modify -q store endpointurl {os.environ['AWS_ENDPOINT_URL_S3']}",
        "dvc add -q data",
        "dvc push -q data.dvc",
        "git add -A",
        "git -c user.name=bench -c user.email=bench@example.com commit -q -m start",
    ):
        subprocess.run(command.split(), cwd=unfinished, check=True)
    unfinished.rename(root)
    workspace = Workspace(root)
    make_fleet_state(workspace, changing, others, database)
    dataset.gather_results(workspace)
    dataset.commit_to_dvc(workspace)


def _find_free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    main()
