"""A rollout cycle over 10,000 tenants, 400 of them on trial: seconds, queries and memory; and reading all aliases.

    python benchmarks/rollout.py [--quick] [--tenants 10000] [--trials 400] [--minutes 120] [--cycles 3]

No trial advances. The first cycle judges all trials by all their observations, `--minutes` of traffic with answers in
every minute. Before each later cycle a minute is added to every trial; the cycle judges the trials that have grown by
1 % since they were judged. The rollout's tables are in SQLite, and in PostgreSQL if this machine has it; MLflow's are
in SQLite.

Then all aliases are read, as a server does every two seconds: from MLflow's database, from an MLflow server, and from
the database of that server. This is compared with MLflow's own function, `get_model_version_by_alias` for each tenant
and alias, which is timed alternately for `--sample` tenants and extrapolated.
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
from components.registry.mlflow.connection import BACKEND_VARIABLE
from components.registry.mlflow.quiet import quiet_mlflow
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
"""Latency bucket -> number of answers, of the twenty answers of an arm in a minute."""
TRIALS_PER_BATCH = 20


def main() -> None:
    """Make the fleet, run the cycles on each database, read the aliases, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few tenants: a check that everything runs")
    parser.add_argument("--tenants", type=int)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--minutes", type=int, help="minutes of traffic in every trial")
    parser.add_argument("--cycles", type=int)
    parser.add_argument("--sample", type=int, help="tenants whose aliases are read one by one")
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
        _measure_aliases("from the database", registry, chosen)
        with mlflow_server.run_mlflow_server(folder) as server:
            config = RegistryConfig(tracking_uri=server.uri)
            _measure_aliases("from MLflow's server", Registry(config, folder), chosen)
            os.environ[BACKEND_VARIABLE] = uri
            _measure_aliases("from the server's database", Registry(config, folder), chosen)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median [least, greatest]")


def _measure_cycles(name: str, url: str, folder: Path, chosen: argparse.Namespace) -> None:
    os.environ[DATABASE_VARIABLE] = url
    minute = int(time.time() // 60)
    _run_in_process(_start_trials, folder, chosen, minute)
    trials = [one for one in tenant_state.read_states(Workspace(folder).database).values() if one.challenger]
    cycles, before = [], reset_peak_resident_memory()
    with _count_queries() as counts:
        for number in range(1 + chosen.cycles):
            _record_answers(Workspace(folder).database, trials, range(minute + number, minute + number + 1))
            now_s = 60.0 * (minute + number + 2)
            started, counts_before = read_clocks(), list(counts)
            results, failures = run_cycle(Workspace(folder), now_s=lambda now_s=now_s: now_s)
            cycles.append(
                (
                    subtract_seconds(read_clocks(), started),
                    [after - earlier for after, earlier in zip(counts, counts_before, strict=True)],
                )
            )
            if failures or len(results) != chosen.trials:
                raise SystemExit(
                    f"expected {chosen.trials} trials that wait, got: {summarize_cycle(results, failures)}"
                )
    peak = read_status_bytes("VmHWM") / 1e6
    for title, some in (("first cycle", cycles[:1]), ("later cycles", cycles[1:])):
        walls, processors = ([seconds[clock] for seconds, _ in some] for clock in (0, 1))
        rollout, mlflow = (max(queries[tables] for _, queries in some) for tables in (0, 1))
        print(
            f"{name}, {title}: {format_spread(walls)} s, {format_spread(processors)} s of processor time; "
            f"queries: {rollout} to the rollout's tables, {mlflow} to MLflow's",
            flush=True,
        )
    print(f"{name}: peak memory {peak:.0f} MB, of which {before / 1e6:.0f} MB before the cycles")


def _start_trials(folder: Path, chosen: argparse.Namespace, minute: int) -> None:
    """Write rollout states and observations up to a minute, as cycles and servers do."""
    config, database = RolloutConfig.model_validate(ROLLOUT_PARAMS), Workspace(folder).database
    known = [RolloutState(tenant=tenant, champion="1") for tenant in make_tenant_ids(chosen.tenants)]
    began_s = 60.0 * (minute - chosen.minutes)
    trials = [policy.begin_trial(config, one, "2", began_s) for one in known[: chosen.trials]]
    with database.transaction("to write rollout states") as connection:
        tenant_state.write_states(connection, [*trials, *known[chosen.trials :]])
    for start in range(0, len(trials), TRIALS_PER_BATCH):
        _record_answers(database, trials[start : start + TRIALS_PER_BATCH], range(minute - chosen.minutes + 1, minute))


def _run_in_process(work: Callable[..., object], *arguments: object) -> None:
    """Run the function in another process, so that its memory does not count here."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed; the traceback is above")


def _record_answers(database: Database, trials: Sequence[RolloutState], minutes: range) -> None:
    """Write twenty answers of each arm for each minute, all of them evidence."""
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
    with _count_queries() as counts:
        for _ in range(chosen.cycles):
            started = time.perf_counter()
            aliases = registry.poll_aliased(CHAMPION, CHALLENGER)
            ours.append(time.perf_counter() - started)
            if [len(aliases[alias]) for alias in (CHAMPION, CHALLENGER)] != [chosen.tenants, chosen.trials]:
                raise SystemExit(f"the aliases that were read are not those that were written: {aliases.keys()}")
            queries = counts[1]
            started = time.perf_counter()
            _read_aliases_one_by_one(registry.uri, sample)
            theirs.append((time.perf_counter() - started) * chosen.tenants / len(sample))
            counts[1] = queries
    ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    print(
        f"all aliases {name}: {format_spread(ours, '.3f')} s, {counts[1] / chosen.cycles:.0f} queries of this process; "
        f"one by one {format_spread(theirs, '.0f')} s (extrapolated from {len(sample)} tenants): "
        f"{format_spread(ratios, '.0f')} x",
        flush=True,
    )


def _read_aliases_one_by_one(uri: str, tenants: Sequence[str]) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    for tenant in tenants:
        for alias in (CHAMPION, CHALLENGER):
            with suppress(MlflowException):  # a tenant that is not on trial has no challenger
                client.get_model_version_by_alias(to_model_name(tenant), alias)


@contextmanager
def _count_queries() -> Iterator[list[int]]:
    """Count this process's queries: [to the rollout's tables, to other tables]."""
    counts = [0, 0]

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        counts["prefixfleet_" not in statement] += 1

    sql.event.listen(Engine, "before_cursor_execute", count)
    try:
        yield counts
    finally:
        sql.event.remove(Engine, "before_cursor_execute", count)


if __name__ == "__main__":
    main()
