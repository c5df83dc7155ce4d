"""A fleet's night: `prefixfleet retrain` of 1,000 tenants of which 40 changed, without training and decoding.

    python benchmarks/nightly_retrain.py [--tenants 1000] [--changed 40] [--nights 3] [--server] [--keep FOLDER]

Every night other tenants get drops, and the flow runs in its own process in a checkout with git, DVC (its remote is a
folder) and MLflow on SQLite; with `--server` MLflow is a server, and the calls to it are counted. The base is tiny and
training has one step, so that nearly all time is overhead. The parts are the flows' tasks without their training and
decoding.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness.checkouts import make_checkout, run_command
from harness.mlflow_server import MlflowServer, run_mlflow_server
from harness.options import format_spread
from harness.stopwatch import ClockSeconds, Stopwatch, add_seconds, read_clocks, subtract_seconds
from harness.workspaces import make_tenant_ids, write_data, write_workspace

from flows.environment import prepare_environment

PROCESS_OVERHEAD = "start and end of the process"
PREFECT_OVERHEAD = "Prefect between the tasks, start of its server beside imports"
ZERO_SECONDS = (0.0, 0.0)
TRAINING, DECODING = "training", "decoding"
PARAMS: dict[str, dict[str, object]] = {
    "train": {"prefix_length": 8, "max_steps": 1, "validate_every": 1, "warmup_steps": 0, "learning_rate": 1e-3},
    "evaluate": {"max_new_tokens": 8, "lowercase": True},
    "gate": {"non_inferiority": [{"metric": "bleu", "margin": 100.0}], "min_slice": 1},
    "tenants": {},
}


@dataclass(frozen=True)
class NightResult:
    """The seconds of a night's parts, and the number of calls to MLflow's server (0 without a server)."""

    parts: dict[str, ClockSeconds]
    calls: int

    @property
    def overhead(self) -> ClockSeconds:
        """The sum of all parts except training and decoding."""
        return add_seconds(
            ZERO_SECONDS, *(seconds for part, seconds in self.parts.items() if part not in (TRAINING, DECODING))
        )


def main() -> None:
    """Make the fleet's first state, run the nights and print the seconds of their parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--changed", type=int, default=40)
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--server", action="store_true", help="use an MLflow server instead of SQLite")
    parser.add_argument(
        "--keep", type=Path, help="folder in which the fleet is kept and reused; default: a temporary one"
    )
    parser.add_argument("--night", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.night:
        _run_night(chosen.keep)
        return
    with tempfile.TemporaryDirectory() as scratch, _run_server(Path(scratch), chosen.server) as server:
        root = chosen.keep or Path(scratch) / "fleet"
        tenants = make_tenant_ids(chosen.tenants)
        os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"  # as `prefixfleet` sets it
        prepare_environment(root)
        if not root.exists():
            _make_first_state(root, tenants)
        print(f"{len(tenants):,} tenants, {chosen.changed} changed; load average {os.getloadavg()[0]:.1f} before")
        nights = [_measure_night(root, tenants, chosen.changed, night, server) for night in range(chosen.nights)]
    _print_nights(nights)


def _print_nights(nights: Sequence[NightResult]) -> None:
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median [least, greatest] of {len(nights)}")
    print(f"{'seconds':60} {'wall time':>24} {'processor time':>24}")
    parts = dict.fromkeys(part for night in nights for part in night.parts)
    rows = {part: [night.parts.get(part, ZERO_SECONDS) for night in nights] for part in parts}
    for part, seconds in sorted(rows.items(), key=lambda row: -median(wall for wall, _ in row[1])):
        _print_line(f"  {part}", seconds)
    _print_line("the whole night", [add_seconds(ZERO_SECONDS, *night.parts.values()) for night in nights])
    _print_line("without training and decoding", [night.overhead for night in nights])
    if any(night.calls for night in nights):
        print(f"calls to MLflow's server: {format_spread([night.calls for night in nights], '.0f')}")


def _print_line(name: str, seconds: Sequence[ClockSeconds]) -> None:
    walls, processors = zip(*seconds, strict=True)
    print(f"{name:60} {format_spread(walls):>24} {format_spread(processors):>24}")


def _measure_night(
    root: Path, tenants: Sequence[str], changed: int, night: int, server: MlflowServer | None
) -> NightResult:
    chosen = [tenants[(night * changed + number) % len(tenants)] for number in range(changed)]
    write_data(root / "drops", chosen, seed=time.time_ns())
    before = server.count_calls() if server else 0
    started = read_clocks()
    report = json.loads(run_command(root, sys.executable, __file__, "--night", "--keep", str(root)).splitlines()[-1])
    whole = subtract_seconds(read_clocks(), started)
    print(f"night {night + 1}: {report['sentence']}", flush=True)
    parts = {part: tuple(seconds) for part, seconds in report["parts"].items()}
    parts[PROCESS_OVERHEAD] = subtract_seconds(whole, add_seconds(ZERO_SECONDS, *parts.values()))
    return NightResult(parts, server.count_calls() - before if server else 0)


def _run_night(root: Path) -> None:
    """Run the flow of `prefixfleet retrain` with a stopwatch on every task and on training and decoding."""
    from flows import run_local

    started = read_clocks()
    run_local._use_server()  # before Prefect is imported, as a command does; or Prefect starts a second server
    from prefect import Task

    import flows.report
    import flows.retrain
    import flows.shard
    from components.model import decoding
    from components.training import loop

    watch = Stopwatch()
    for module in (flows.retrain, flows.report, flows.shard):
        for name, task in vars(module).items():
            if isinstance(task, Task) and task.fn.__module__ == module.__name__:
                task.fn = watch.wrap_function(name, task.fn)
    loop.train_together = watch.wrap_generator(TRAINING, loop.train_together)
    decoding.decode = watch.wrap_generator(DECODING, decoding.decode)
    done = run_local.run_flow("retrain", root, None)
    watch.seconds_by_part[PREFECT_OVERHEAD] = subtract_seconds(
        subtract_seconds(read_clocks(), started), add_seconds(ZERO_SECONDS, *watch.seconds_by_part.values())
    )
    print(json.dumps({"sentence": done.sentence, "parts": watch.seconds_by_part}))


def _make_first_state(root: Path, tenants: Sequence[str]) -> None:
    """Train, evaluate, gate and register all tenants with the stages, without Prefect."""
    from components.stages import dataset, evaluate, gate, register, train
    from components.stages.outcome import raise_on_failures
    from components.stages.plan import plan
    from components.stages.workspace import Workspace

    started = time.perf_counter()
    root.mkdir(parents=True)
    write_workspace(root, tenants, PARAMS)
    make_checkout(root, str(root / ".dvc" / "remote"))
    workspace = Workspace(root)
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(workspace))
    versions, failures = register.register(workspace, plan(workspace, tenants).collect_fingerprints())
    raise_on_failures(failures)
    register.roll_out(workspace, versions, [])
    dataset.commit_to_dvc(workspace)
    print(f"first state of {len(tenants):,} tenants, by the stages: {time.perf_counter() - started:.0f} s")


@contextmanager
def _run_server(folder: Path, use_server: bool) -> Iterator[MlflowServer | None]:
    """Set where MLflow is, for this process and its child processes."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if not use_server:
        yield None
        return
    with run_mlflow_server(folder) as server:
        os.environ["MLFLOW_TRACKING_URI"] = server.uri
        yield server


if __name__ == "__main__":
    main()
