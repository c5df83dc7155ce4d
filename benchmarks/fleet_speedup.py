"""A real retraining on workers: two workers on two cores compared with one worker on one core, whole time.

    python benchmarks/fleet_speedup.py [--base FOLDER] [--tenants 16] [--steps 300] [--data FOLDER] [--rounds 1]

Every run is `prefixfleet retrain` of tenants without a prefix, in a fleet of its own: training, decoding, gate,
registration and rollout, over PostgreSQL, an S3 API, MLflow's server and Prefect's server. Worker n may use core n
alone; the parent and the servers may use all cores, in both kinds of run. The services' start is not counted.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from harness.checkouts import PROJECT, make_checkout
from harness.fleet_services import make_scratch, run_fleet_services
from harness.training_examples import draw_examples
from harness.workspaces import make_tenant_ids

from components.data.schema import Example, format_line

_SPLIT_SIZES = {"train": 400, "validation": 20, "test": 20}
_WORKERS = {"exchange": "s3://exchange/speedup", "max_shards": 4}


def main() -> None:
    """Run both kinds alternately and print their times and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=PROJECT / "base", help="folder of the base")
    parser.add_argument("--tenants", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300, help="steps of a tenant's training, of 8 examples each")
    parser.add_argument("--data", type=Path, help="folder with e2e-dataset.zip; default: random words in its lengths")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for services and fleets; default: a temporary one")
    chosen = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with make_scratch() as scratch:
        for number in range(chosen.rounds):
            for workers in seconds:
                folder = (chosen.keep or scratch) / f"{number}-{workers}"
                took = _measure(folder, workers, chosen)
                seconds[workers].append(took)
                load = os.getloadavg()[0]
                print(f"{workers} workers, {chosen.tenants} tenants: {took:.1f} s; load average {load:.1f}", flush=True)
    print(f"ratio of the medians: {median(seconds[1]) / median(seconds[2]):.2f}")


def _measure(folder: Path, workers: int, chosen: argparse.Namespace) -> float:
    def pin(service: Any, number: int) -> Any:
        environment = {**service.environment, "OMP_NUM_THREADS": "1"}
        return replace(service, command=["taskset", "-c", str(number), *service.command], environment=environment)

    with run_fleet_services(folder, workers, pin) as services:
        os.environ.update(services.environment)
        root = folder / "fleet"
        _make_fleet(root, chosen)
        started = time.perf_counter()
        with (folder / "retrain.log").open("wb") as log:
            command = [sys.executable, "-m", "cli.main", "-C", str(root), "retrain"]
            done = subprocess.run(command, env=services.environment, stdout=log, stderr=log, check=False)
        if done.returncode not in (0, 3):
            raise SystemExit(f"exit code {done.returncode}; see {folder / 'retrain.log'}")
        return time.perf_counter() - started


def _make_fleet(root: Path, chosen: argparse.Namespace) -> None:
    root.mkdir()
    shutil.copytree(chosen.base, root / "base")
    params = {
        "base": {"path": "base"},
        "train": {"max_steps": chosen.steps, "validate_every": 100, "batch_size": 8},
        "evaluate": {"max_new_tokens": 60, "lowercase": True},
        "gate": {"min_slice": 1},
        "tenants": {},
        "data": {"max_overlap": 1.0},  # E2E has several references, and so lines, of one source
        "registry": {"tracking_uri": os.environ["MLFLOW_TRACKING_URI"]},
        "workers": _WORKERS,
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    tenants = make_tenant_ids(chosen.tenants)
    size = sum(_SPLIT_SIZES.values())
    examples = draw_examples(chosen.data, size * len(tenants), numbers=False)
    for number, tenant in enumerate(tenants):
        _write_tenant(root / "data" / tenant, examples[number * size : (number + 1) * size])
    make_checkout(root, "s3://dvc/speedup", os.environ["AWS_ENDPOINT_URL_S3"])


def _write_tenant(folder: Path, examples: Sequence[Example]) -> None:
    folder.mkdir(parents=True)
    remaining = iter(examples)
    for split, count in _SPLIT_SIZES.items():
        lines = map(format_line, islice(remaining, count))
        (folder / f"{split}.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
