"""A day of a fleet in minutes, on the real stack, and a table of what was promised and what happened.

    python benchmarks/day.py [--tenants 1000] [--changed 40] [--minutes 20] [--rate 8] [--servers 2] [--keep FOLDER]

PostgreSQL, an S3 API, MLflow's server, Prefect's server and two training workers are those of `make services`, in a
folder of their own; in front of the model servers is nginx, beside them the console and a Prometheus with the project's
alerts. Callers send requests along a daily curve, rate answers and correct them. In the night some tenants are trained
again, one of them on wrong data; a worker is killed in the middle of a shard. By day a server is killed, the database
restarted, the disk full for a while, and the servers are restarted one after the other. At the end every promise that
was broken is named, and the exit status is 1 if there is one. Ctrl-C or SIGTERM ends the day
early, and shows the table.

Workspace, servers' files and workers' folders are on a small disk of their own (tmpfs, which needs root) that can be
filled. Training and answers are real, on the built-in base with short texts: `compressed_day/texts.py`. How the first
state is made in minutes: `compressed_day/first_state.py`. Alerts are judged by real time, not by that of the day.
"""

import argparse
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressed_day import servers
from compressed_day.alerts import AlertWatch, serve_textfile
from compressed_day.commands import Commands
from compressed_day.console_visits import ConsoleVisits
from compressed_day.events import Day
from compressed_day.reference_answers import judge_texts
from compressed_day.small_disk import SmallDisk, mount_small_disk
from compressed_day.traffic import Traffic
from harness.fleet_services import FleetServices, make_scratch, run_fleet_services
from harness.workspaces import make_tenant_ids

_RULES = Path(__file__).parents[1] / "infra" / "prometheus" / "rules.yaml"
_MOST_MB_PER_MINUTE = 5.0
_LEAST_LIFE_S, _SETTLING_S = 180.0, 120.0
_CYCLE_PAUSE_S = 10.0
_TRIAL_REQUESTS = 16
"""Six in ten answers are rated, and about ten ratings of each version show that one is always wrong."""


def main() -> None:
    """Run a day and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few tenants and minutes: a check that everything runs")
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--changed", type=int, default=40, help="tenants with new data; at most a fifth of all")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=8.0, help="requests per second in the afternoon")
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for logs and all files, kept; default: a temporary one")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: end everything that was started
    if chosen.quick:
        chosen.tenants, chosen.minutes, chosen.rate = 16, 3.0, 4.0
    if servers.NGINX is None or servers.PROMETHEUS is None:
        raise SystemExit("wanted: nginx and prometheus; got: not installed; fix: apt-get install nginx prometheus")
    with make_scratch() as scratch, ExitStack() as stack:
        folder = chosen.keep or scratch
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        disk = stack.enter_context(mount_small_disk(folder / "disk", 512 + 2 * chosen.tenants))

        def move_home(service: Any, number: int) -> Any:
            home = disk.folder / "workers" / f"gpu-{number + 1}"
            command = [*service.command[:-1], str(home)]
            return replace(service, command=command, prepare=lambda: home.mkdir(parents=True, exist_ok=True))

        services = stack.enter_context(run_fleet_services(folder, 2, move_home))
        os.environ.update(services.environment)
        broken = _run(folder, disk, services, stack, chosen)
    if broken:
        sys.exit(1)


def _run(folder: Path, disk: SmallDisk, services: FleetServices, stack: ExitStack, chosen: argparse.Namespace) -> int:
    from compressed_day import answer_promises, part_promises, version_promises
    from compressed_day.first_state import check_first_state, make_first_state
    from compressed_day.promise import print_table
    from compressed_day.records import read_records

    from components.stages.workspace import Workspace

    root, tenants, logs = disk.folder / "fleet", make_tenant_ids(chosen.tenants), folder / "logs"
    logs.mkdir(exist_ok=True)
    started_s = time.monotonic()
    textfile = folder / "prefixfleet.prom"
    params = _make_params(services, chosen.minutes, textfile)
    make_first_state(root, tenants, params, services)
    workspace = Workspace(root)
    check_first_state(workspace, tenants)
    print(f"first state of {len(tenants):,} tenants: {time.monotonic() - started_s:.0f} s", flush=True)
    changed = tenants[-min(chosen.changed, len(tenants) // 5) :]
    environment = {
        **services.environment,
        "MLFLOW_BACKEND_STORE_URI": services.mlflow_database,
        "OMP_NUM_THREADS": "1",
    }
    commands = Commands(root, environment, logs)
    first = commands.run("rollout")
    if first.code:
        raise SystemExit(first.printed)
    key, intruder = (
        commands.run("keys", "create", *words).printed.split()[0] for words in (("--role", "operator"), tenants[:1])
    )
    serving = [
        servers.Program(f"server-{number + 1}", root, ["serve"], "/readyz", environment, logs)
        for number in range(chosen.servers)
    ]
    console = servers.Program("console", root, ["console"], "/console/login", environment, logs)
    for program in (*serving, console):
        stack.callback(program.end)
        program.start(wait=False)
    for program in (*serving, console):
        program.wait_ready()
    url = stack.enter_context(servers.balance_load(folder / "nginx", [one.port for one in serving]))
    flows = stack.enter_context(serve_textfile(textfile))
    jobs = {"prefixfleet": [f"127.0.0.1:{one.port}" for one in serving], "flows": [flows]}
    prometheus = stack.enter_context(servers.run_prometheus(folder / "prometheus", _RULES, jobs))
    hot = [*changed, *[changed[-1]] * max(1, len(changed) // 2)]
    traffic = Traffic(url, key, (tenants[0], intruder), tenants, hot, chosen.rate, 60 * chosen.minutes)
    day = Day(root, services, commands, serving, disk, traffic, changed, changed[-1], 60 * chosen.minutes)
    memory, alerts = servers.MemoryWatch([*serving, console]), AlertWatch(prometheus)
    print(
        f"a day of {chosen.minutes:g} minutes, {len(changed)} changed; load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    visits = ConsoleVisits(console.url, key, tenants)
    watches = {"memory": memory, "alerts": alerts, "console": visits}
    for watch in (traffic, *watches.values()):
        watch.start()
    with commands.repeat_cycles(_CYCLE_PAUSE_S):
        try:
            day.run()
        except KeyboardInterrupt:
            day.tell("stopped by hand; what has happened so far:")
    for watch in (traffic, *watches.values()):
        watch.stop()
    last = commands.run("rollout")
    commands.cycles.append(last)
    verified = commands.run("history", "--verify")
    records = read_records(workspace)
    table = [
        answer_promises.judge_answers(day, records),
        judge_texts(workspace, traffic.exchanges),
        answer_promises.judge_intruders(day),
        answer_promises.judge_requests(day),
        answer_promises.judge_feedback(day, records),
        version_promises.judge_versions(day, records, verified.printed if verified.code else ""),
        version_promises.judge_bad_version(day, records),
        version_promises.judge_good_versions(day, records),
        part_promises.judge_nights(day),
        part_promises.judge_cycles(day),
        part_promises.judge_servers(day),
        part_promises.judge_console(day, visits.answers),
        part_promises.judge_watches(watches),
        part_promises.judge_memory(memory.measure_slopes(_SETTLING_S, _LEAST_LIFE_S), _MOST_MB_PER_MINUTE),
        part_promises.judge_alerts(alerts.fired),
    ]
    broken = print_table(table)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return broken


def _make_params(services: FleetServices, minutes: float, textfile: Path) -> dict[str, Any]:
    """Return params.yaml: short trainings, and trials that last a tenth of the day, but two minutes at least."""
    trial_hours = max(2.0, minutes / 10) / 60
    return {
        "base": {"path": "base"},
        "train": {
            "prefix_length": 4,
            "max_steps": 45,
            "warmup_steps": 5,
            "validate_every": 15,
            "batch_size": 8,
            "learning_rate": 0.1,
        },
        "evaluate": {"max_new_tokens": 16, "lowercase": True},
        "gate": {
            "floors": {"bleu": 20.0},
            "min_slice": 1000,
            "non_inferiority": [{"metric": "bleu", "margin": 20.0}],
        },
        "registry": {"tracking_uri": services.environment["MLFLOW_TRACKING_URI"]},
        "serve": {"open_metrics": True},
        "metrics": {"textfile": str(textfile)},
        "rollout": {
            "policy": "canary",
            "steps": [{"share": 0.5, "hours": trial_hours, "min_requests": _TRIAL_REQUESTS}, {"share": 1.0}],
            "margins": {"latency": None},
        },
        "workers": {
            "exchange": "s3://exchange/day",
            "max_shards": 4,
            "target_minutes": 0.5,
            "lost_seconds": 20.0,
        },
        "tenants": {},
    }


if __name__ == "__main__":
    main()
