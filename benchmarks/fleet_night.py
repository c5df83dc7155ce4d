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
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.checkouts import PROJECT, make_checkout
from harness.fleet_services import make_scratch, run_fleet_services
from harness.modelled_training import SECONDS_VARIABLE, install
from harness.workspaces import make_tenant_ids, write_data, write_workspace

_START_MODELLED = PROJECT / "benchmarks" / "harness" / "start_modelled"
_WORKERS = {"exchange": "s3://exchange/night", "max_shards": 8, "target_minutes": 0.5, "lost_seconds": 120.0}


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
    with make_scratch() as scratch:
        for count in chosen.tenants:
            folder = (chosen.keep or scratch) / str(count)
            night = _measure(folder, count, min(chosen.changed, count // 2), chosen)
            outside = night.seconds - night.training_seconds
            print(
                f"{night.tenants:,} tenants, {night.changed} changed: {night.seconds:.0f} s, outside training "
                f"{outside:.0f} s; peak memory of the parent {night.peak_mb:,.0f} MB; {night.sentence}; "
                f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
                flush=True,
            )


def _measure(folder: Path, count: int, changed: int, chosen: argparse.Namespace) -> NightResult:
    workers = 0 if chosen.here else chosen.workers

    def add_model(service: Any, _: int) -> Any:
        return replace(service, environment=_add_model(service.environment, chosen.seconds))

    with run_fleet_services(folder, workers, add_model) as services:
        environment = services.environment
        root, tenants = folder / "fleet", make_tenant_ids(count)
        if not root.exists():
            started = time.perf_counter()
            os.environ.update(environment)
            _make_fleet(root, tenants[:changed], tenants[changed:], services.mlflow_database, here=chosen.here)
            print(f"first state of {count:,} tenants: {time.perf_counter() - started:.0f} s", flush=True)
        write_data(root / "drops", tenants[:changed], seed=time.time_ns())
        command = [sys.executable, "-m", "cli.main", "-C", str(root), "retrain"]
        started = time.perf_counter()
        printed = folder / "night.txt"
        with printed.open("wb") as output, (folder / "night.log").open("wb") as log:
            night = subprocess.Popen(
                command,
                env=_add_model(environment, chosen.seconds) if chosen.here else environment,
                stdout=output,
                stderr=log,
            )
            peak_mb = _watch_memory(night)
        seconds = time.perf_counter() - started
        if night.returncode:
            raise SystemExit(f"exit code {night.returncode}; see {folder / 'night.log'}\n{printed.read_text()}")
        share = changed * chosen.seconds / max(1, workers)
        return NightResult(count, changed, seconds, share, peak_mb, printed.read_text().strip().splitlines()[-1])


def _watch_memory(process: "subprocess.Popen[bytes]") -> float:
    """Wait until a process ends; return its peak memory in MB."""
    peak_kib, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        lines = status.read_text().splitlines() if status.exists() else []
        peak_kib = max([peak_kib, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.2)
    return peak_kib / 1024


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
    make_checkout(unfinished, "s3://dvc/night", os.environ["AWS_ENDPOINT_URL_S3"])
    unfinished.rename(root)
    workspace = Workspace(root)
    make_fleet_state(workspace, changing, others, database)
    dataset.gather_results(workspace)
    dataset.commit_to_dvc(workspace)


if __name__ == "__main__":
    main()
