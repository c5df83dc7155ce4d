"""A cycle of the rollout over 10,000 tenants, 400 of them on trial: seconds, queries, memory; and what aliases cost.

    python benchmarks/rollout.py [--quick] [--tenants 10000] [--trials 400] [--minutes 120] [--cycles 3]

Nobody is moved: every trial waits. The first cycle judges all trials by all that was seen since they began, which is
`--minutes` of traffic with answers in every minute; before each of the others a minute is added to every trial, and
those are judged anew that have grown by 1 %. The rollout's tables lie in SQLite, and in PostgreSQL where this
machine has it; MLflow is a real database on sqlite. Then the look at everybody's aliases, as a server takes it every
other second: by that database, by an MLflow server on it, and past that server by its database. Nothing else does this
for a fleet that could be set beside it; what stands there is MLflow's own way, `get_model_version_by_alias` for each
tenant and alias, timed in turns with ours for `--sample` tenants and multiplied up.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sql
import yaml
from harness import mlflow_server, postgresql_server
from harness.alternating_runs import read_status_bytes, reset_peak_resident_memory
from harness.mlflow_tables import write_mlflow_tables
from harness.options import fill_options, format_spread
from harness.stopwatch import read_clocks, subtract_seconds
from harness.workspaces import make_tenant_ids
from sqlalchemy.engine import Engine

from components.config import RegistryConfig
from components.config.rollout import RolloutConfig
from components.registry.mlflow.connection import BACKEND_VARIABLE, quiet_mlflow
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, to_model_name
from components.registry.registry import Registry
from components.rollout.policy import policy
from components.rollout.store import tenant_state
from components.rollout.store.database import DATABASE_VARIABLE
from components.rollout.store.observations import write_counts
from components.rollout.types import Observation, RolloutState
from components.stages.rollout.cycle import run_cycle, summarize_cycle
from components.stages.workspace import Workspace
from components.storage.database import Database

PRESETS = {
    "quick": {"tenants": 60, "trials": 8, "minutes": 10, "cycles": 2, "sample": 20},
    "default": {"tenants": 10_000, "trials": 400, "minutes": 120, "cycles": 3, "sample": 100},
}
ROLLOUT_PARAMS = {
    "policy": "canary",
    "steps": [{"share": 0.2, "hours": 1000.0}, {"share": 1.0}],
    "deadline_hours": 10_000.0,
}
LATENCIES = {20: 4, 22: 6, 24: 5, 26: 3, 28: 1, 30: 1}
"""Of the twenty answers of an arm in a minute."""
TRIALS_PER_BATCH = 20


def main() -> None:
    """Make the fleet, run the cycles on each database, look at the aliases, and print it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few tenants: shows that everything runs")
    parser.add_argument("--tenants", type=int)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--minutes", type=int, help="of traffic that every trial has seen")
    parser.add_argument("--cycles", type=int)
    parser.add_argument("--sample", type=int, help="tenants that are asked for one by one")
    parser.set_defaults(full=False)
    chosen = fill_options(parser.parse_args(), PRESETS)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as scratch, quiet_mlflow():
        folder, tenants = Path(scratch), make_tenant_ids(chosen.tenants)
        uri = f"sqlite:///{folder}/server.db"
        _run_in_process(write_mlflow_tables, uri, folder, tenants, tenants[: chosen.trials])
        registry = Registry(RegistryConfig(tracking_uri=uri), folder)
        params = {"base": {"path": "base"}, "registry": {"tracking_uri": uri}, "rollout": ROLLOUT_PARAMS}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        print(f"{len(tenants):,} tenants, {chosen.trials} on trial with {chosen.minutes} minutes of traffic each")
        _measure_cycles("SQLite", f"sqlite:///{folder}/prefixfleet.db", folder, chosen)
        if postgresql_server.is_installed():
            with postgresql_server.run_postgresql() as url:
                _measure_cycles("PostgreSQL", url, folder, chosen)
        _measure_aliases("by the database", registry, chosen)
        with mlflow_server.run_mlflow_server(folder) as server:
            config = RegistryConfig(tracking_uri=server.uri)
            _measure_aliases("by MLflow's server", Registry(config, folder), chosen)
            os.environ[BACKEND_VARIABLE] = uri
            _measure_aliases("beside the server, by its database", Registry(config, folder), chosen)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median [least, greatest]")


def _measure_cycles(name: str, url: str, folder: Path, chosen: argparse.Namespace) -> None:
    os.environ[DATABASE_VARIABLE] = url
    minute = int(time.time() // 60)
    _run_in_process(_start_trials, folder, chosen, minute)
    trials = [one for one in tenant_state.read_states(Workspace(folder).database).values() if one.challenger]
    taken, before = [], reset_peak_resident_memory()
    with _count_queries() as counted:
        for number in range(1 + chosen.cycles):
            _record_answers(Workspace(folder).database, trials, range(minute + number, minute + number + 1))
            now_s = 60.0 * (minute + number + 2)
            started, asked = read_clocks(), list(counted)
            rolled, troubles = run_cycle(Workspace(folder), now_s=lambda now_s=now_s: now_s)
            taken.append(
                (
                    subtract_seconds(read_clocks(), started),
                    [after - had for after, had in zip(counted, asked, strict=True)],
                )
            )
            if troubles or len(rolled) != chosen.trials:
                raise SystemExit(f"{chosen.trials} trials that wait were expected: {summarize_cycle(rolled, troubles)}")
    peak = read_status_bytes("VmHWM") / 1e6
    for what, some in (("the first cycle", taken[:1]), ("the others", taken[1:])):
        walls, processors = ([seconds[at] for seconds, _ in some] for at in (0, 1))
        ours, theirs = (max(queries[at] for _, queries in some) for at in (0, 1))
        print(
            f"{name}, {what}: {format_spread(walls)} s, {format_spread(processors)} of the processor; "
            f"queries: {ours} to the "
            f"rollout's tables, {theirs} to MLflow's",
            flush=True,
        )
    print(f"{name}: {peak:.0f} MB at most, of which {before / 1e6:.0f} before")


def _start_trials(folder: Path, chosen: argparse.Namespace, minute: int) -> None:
    """Standings and observations up to a minute, as cycles and servers leave them."""
    config, database = RolloutConfig.model_validate(ROLLOUT_PARAMS), Workspace(folder).database
    known = [RolloutState(tenant=tenant, champion="1") for tenant in make_tenant_ids(chosen.tenants)]
    began_s = 60.0 * (minute - chosen.minutes)
    trials = [policy.begin_trial(config, one, "2", began_s) for one in known[: chosen.trials]]
    with database.transaction("standings") as connection:
        tenant_state.write_states(connection, [*trials, *known[chosen.trials :]])
    for start in range(0, len(trials), TRIALS_PER_BATCH):
        _record_answers(database, trials[start : start + TRIALS_PER_BATCH], range(minute - chosen.minutes + 1, minute))


def _run_in_process(work: Callable[..., object], *arguments: object) -> None:
    """Do it in another process, whose memory is not ours."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed: its traceback stands above")


def _record_answers(database: Database, trials: Sequence[RolloutState], minutes: range) -> None:
    """Twenty answers of either arm in each minute, all of which are evidence."""
    write_counts(
        database,
        [
            Observation(
                tenant=one.tenant,
                version=version,
                arm=arm,
                minute=minute,
                section=section,
                requests=sum(LATENCIES.values()),
                latencies=LATENCIES,
            )
            for one in trials
            for version, arm in (("1", "champion"), ("2", "challenger"))
            for minute in minutes
            for section in (0, one.changes[0].second)
        ],
    )


def _measure_aliases(name: str, registry: Registry, chosen: argparse.Namespace) -> None:
    sample = make_tenant_ids(chosen.tenants)[: chosen.sample]
    ours, theirs = [], []
    with _count_queries() as counted:
        for _ in range(chosen.cycles):
            started = time.perf_counter()
            found = registry.poll_aliased(CHAMPION, CHALLENGER)
            ours.append(time.perf_counter() - started)
            if [len(found[alias]) for alias in (CHAMPION, CHALLENGER)] != [chosen.tenants, chosen.trials]:
                raise SystemExit(f"other aliases were read than written: {found.keys()}")
            queries = counted[1]
            started = time.perf_counter()
            _read_aliases_one_by_one(registry.uri, sample)
            theirs.append((time.perf_counter() - started) * chosen.tenants / len(sample))
            counted[1] = queries
    ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    print(
        f"all aliases {name}: {format_spread(ours, '.3f')} s, {counted[1] / chosen.cycles:.0f} "
        f"queries from here; one by one "
        f"{format_spread(theirs, '.0f')} s (from {len(sample)} tenants): {format_spread(ratios, '.0f')} x",
        flush=True,
    )


def _read_aliases_one_by_one(uri: str, tenants: Sequence[str]) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    for tenant in tenants:
        for alias in (CHAMPION, CHALLENGER):
            with suppress(MlflowException):  # whoever is not on trial
                client.get_model_version_by_alias(to_model_name(tenant), alias)


@contextmanager
def _count_queries() -> Iterator[list[int]]:
    """Counts what any engine of this process asks meanwhile: of the rollout's tables, and of others."""
    counted = [0, 0]

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        counted["prefixfleet_" not in statement] += 1

    sql.event.listen(Engine, "before_cursor_execute", count)
    try:
        yield counted
    finally:
        sql.event.remove(Engine, "before_cursor_execute", count)


if __name__ == "__main__":
    main()
