"""A fleet's night on workers, without training: 10,000 tenants, 500 with new data, four workers, all services real.

    python benchmarks/fleet_night.py [--tenants 100 1000 10000] [--changed 500] [--workers 4] [--keep FOLDER]

PostgreSQL, an S3 API, MLflow's server on both, Prefect's server on PostgreSQL and the workers are those of
`make services`, in a folder of their own. Training and decoding are replaced by a cost model
(`harness/modelled_training.py`): a tenant takes `--seconds` on its worker. All else of the night is real: DVC, S3,
scores, gate, registration, rollout. "Outside training" is the whole time of `prefixfleet retrain` less the modelled
training time of a worker's equal share. With `--here` the night runs without workers, in one process.

The first state is made once for each size in FOLDER/<tenants>, which later runs use: `--originals` tenants pass through
the real stages, the others are copies (`harness/fleet_states.py`) with their own data, digests, rows, files, entries.
tests/benchmarks/harness/test_fleet_states.py compares copies with tenants that were really registered. To compare their
nights, run a small fleet twice in two folders: with `--originals 20 --tenants 20` nothing is copied.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from harness.checkouts import PROJECT, make_checkout
from harness.fleet_services import FleetServices, make_scratch, run_fleet_services
from harness.modelled_training import SECONDS_VARIABLE, install
from harness.pending_objects import PendingObjects, list_dvc_objects
from harness.processor_seconds import describe_seconds, read_service_seconds
from harness.workspaces import make_tenant_ids, write_data, write_workspace

_START_MODELLED = PROJECT / "benchmarks" / "harness" / "start_modelled"
_WORKERS = {"exchange": "s3://exchange/night", "max_shards": 4, "target_minutes": 1.0, "lost_seconds": 120.0}
"""A shard for each of four workers: starting a process for a shard costs as much as some twenty tenants."""
_REMOTE = "dvc/night"
_FINISHED = "first-state"
"""File in a fleet's folder: its first state is complete."""


@dataclass(frozen=True)
class NightResult:
    """What one night took."""

    tenants: int
    changed: int
    seconds: float
    training_seconds: float
    """Modelled training of one worker's equal share."""
    processor: str
    """Processor seconds of the command and of each service."""
    peak_mb: float
    sentence: str


def main() -> None:
    """Run a night at every size, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--changed", type=int, default=500, help="tenants with new data; at most half of all")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5, help="modelled training time of a tenant")
    parser.add_argument("--originals", type=int, default=4, help="tenants of a new first state that are not copies")
    parser.add_argument("--here", action="store_true", help="without workers")
    parser.add_argument("--make", action="store_true", help="only make the first states, in FOLDER")
    parser.add_argument(
        "--keep", type=Path, help="folder for the services and fleets, which every user can enter; default: a new one"
    )
    chosen = parser.parse_args()
    with make_scratch() as scratch:
        for count in chosen.tenants:
            folder = (chosen.keep or scratch) / str(count)
            # A process of its own for each size: clients of a store are cached by process, and each size has its own.
            process = get_context("spawn").Process(target=_run_size, args=(folder, count, chosen))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


def _run_size(folder: Path, count: int, chosen: argparse.Namespace) -> None:
    if not (folder / _FINISHED).exists():
        _make_first_state(folder, make_tenant_ids(count), chosen)
    if not chosen.make:
        _print_night(_measure(folder, count, min(chosen.changed, count // 2), chosen))


def _print_night(night: NightResult) -> None:
    print(
        f"{night.tenants:,} tenants, {night.changed} changed: {night.seconds:.0f} s, outside training "
        f"{night.seconds - night.training_seconds:.0f} s; peak memory of the parent {night.peak_mb:,.0f} MB; "
        f"processor seconds: {night.processor}; {night.sentence}; "
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        flush=True,
    )


def _measure(folder: Path, count: int, changed: int, chosen: argparse.Namespace) -> NightResult:
    from components.stages.sharding.cost import RATES_FILE

    workers = 0 if chosen.here else chosen.workers

    def add_model(service: Any, _: int) -> Any:
        return replace(service, environment=_add_model(service.environment, chosen.seconds))

    with run_fleet_services(folder, workers, add_model) as services:
        environment = services.environment
        root = folder / "fleet"
        write_data(root / "drops", make_tenant_ids(changed), seed=time.time_ns())
        (root / "var" / RATES_FILE).unlink(missing_ok=True)  # of a night with other work beside it
        command = [sys.executable, "-m", "cli.main", "-C", str(root), "retrain"]
        before = _read_processor(services)
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
        processor = describe_seconds(before, _read_processor(services))
        if night.returncode:
            raise SystemExit(f"exit code {night.returncode}; see {folder / 'night.log'}\n{printed.read_text()}")
        share = changed * chosen.seconds / max(1, workers)
        sentence = printed.read_text().strip().splitlines()[-1]
        return NightResult(count, changed, seconds, share, processor, peak_mb, sentence)


def _read_processor(services: FleetServices) -> dict[str, float]:
    """Return the processor seconds of the services, and of the commands that this process has run."""
    times = os.times()
    commands = times.children_user + times.children_system
    return {"command": commands, **read_service_seconds(services.list_processes())}


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


def _make_first_state(folder: Path, tenants: Sequence[str], chosen: argparse.Namespace) -> None:
    if (folder / "fleet").exists():
        raise SystemExit(f"the first state in {folder} is not complete: its making was stopped; remove this folder")
    started, processor = time.perf_counter(), sum(os.times()[:4])
    pending = PendingObjects(folder / "pending.zip")
    with run_fleet_services(folder, 0) as services:
        before = read_service_seconds(services.list_processes())
        os.environ.update(services.environment)
        _make_fleet(folder / "fleet", tenants, services.mlflow_database, pending, chosen)
        if services.moto_file is None:
            pending.send(services.environment)
        used = describe_seconds(before, read_service_seconds(services.list_processes()))
    if services.moto_file is not None:
        pending.write_to_moto(services.moto_file)
    (folder / _FINISHED).touch()
    real = min(chosen.originals, len(tenants))
    print(
        f"first state of {len(tenants):,} tenants, {real} by the real stages, {len(tenants) - real:,} copies: "
        f"{time.perf_counter() - started:.0f} s; processor seconds: here {sum(os.times()[:4]) - processor:.0f}, {used}",
        flush=True,
    )


def _make_fleet(
    root: Path, tenants: Sequence[str], database: str, pending: PendingObjects, chosen: argparse.Namespace
) -> None:
    from harness.fleet_states import make_fleet_state
    from nightly_retrain import PARAMS

    from components.registry.mlflow.store_places import DESTINATION_VARIABLE, join_served
    from components.stages.workspace import Workspace

    os.environ[SECONDS_VARIABLE] = "0"
    install()
    root.mkdir()
    params = {**PARAMS, "registry": {"tracking_uri": os.environ["MLFLOW_TRACKING_URI"]}}
    write_workspace(root, tenants, params if chosen.here else {**params, "workers": _WORKERS})
    make_checkout(root, f"s3://{_REMOTE}", os.environ["AWS_ENDPOINT_URL_S3"], push=False)
    pending.add(list_dvc_objects(root, _REMOTE))
    store = os.environ[DESTINATION_VARIABLE]

    def store_files(files: Iterable[tuple[str, bytes]]) -> None:
        pending.add((join_served(uri, store).removeprefix("s3://"), content) for uri, content in files)

    make_fleet_state(Workspace(root), tenants, chosen.originals, database, store_files)


if __name__ == "__main__":
    main()
