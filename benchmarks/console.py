"""Seconds and bytes of the console's first page over 10,000 tenants, and of its searches, orders and later pages.

    python benchmarks/console.py [--tenants 10000] [--rounds 9] [--keep FOLDER]

The workspace, MLflow's tables, the rollout's tables and an hour of every tenant's traffic are real; the prefixes are
made up. The console is a process of its own, `prefixfleet console`. Bytes are those on the wire, headers left out;
CPU is the console's own, which other work on the machine changes less than the time. The
first page is measured with everything that a browser fetches for it: styles, scripts and icon.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
from harness.mlflow_tables import write_mlflow_tables
from harness.options import format_spread
from harness.workspaces import make_tenant_ids
from planning import build_workspace

from components.config import load_workspace_params
from components.rollout.store.database import open_database
from components.rollout.store.observations import write_counts
from components.rollout.types import Observation

_PREFIX_KIB = 4
_ASSET = re.compile(r'(?:href|src)="([^"]+/static/[^"]+)"')
_PAGES = {
    "first page": "",
    "search": "?search=tenant-04",
    "ordered by BLEU": "?sort=-bleu",
    "one state": "?state=stale",
    "last page": "?page=999999",
    "200 rows": "?size=200",
}
_WAIT_S = 600.0


def main() -> None:
    """Make the fleet, start the console and print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keep", type=Path, help="folder for the fleet, which is made if it is missing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = chosen.keep or Path(scratch) / "fleet"
        tenants = make_tenant_ids(chosen.tenants)
        if not root.exists():
            _make_fleet(root, tenants)
        _add_traffic(root, tenants)
        _measure(root, chosen.rounds)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _make_fleet(root: Path, tenants: Sequence[str]) -> None:
    build_workspace(root, len(tenants), _PREFIX_KIB)
    tags = {
        tenant: {"metric.bleu": str(20 + number % 70), "metric.rougeL": str(30 + number % 60)}
        for number, tenant in enumerate(tenants)
    }
    write_mlflow_tables("sqlite:///var/mlflow/mlflow.db", root, tenants, tenants[:100], tags)


def _add_traffic(root: Path, tenants: Sequence[str]) -> None:
    database, now = open_database(load_workspace_params(root).registry, root), int(time.time() // 60)
    write_counts(
        database,
        (
            Observation(
                tenant=tenant,
                version="1",
                arm="champion",
                minute=now - minutes_ago,
                requests=10,
                errors=number % 50 == 0,
                tokens=200,
                latencies={28 + number % 9: 10},
            )
            for number, tenant in enumerate(tenants)
            for minutes_ago in (1, 20, 40)
        ),
    )
    database.close()


def _measure(root: Path, rounds: int) -> None:
    command = [sys.executable, "-m", "cli.main", "-C", str(root), "console", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = _read_address(process)
            _wait_for_fleet(url)
            with httpx.Client(timeout=_WAIT_S) as client:
                for name, query in _PAGES.items():
                    _print_page(client, process.pid, name, f"{url}{query}", rounds)
                _print_first_visit(client, url)
        finally:
            process.terminate()


def _read_address(process: "subprocess.Popen[str]") -> str:
    for line in process.stderr or ():
        if "the console is at " in line:
            return line.split("the console is at ")[1].strip()
    raise SystemExit("the console has ended before it told its address")


def _wait_for_fleet(url: str) -> None:
    started = time.perf_counter()
    while "fleet-table" not in httpx.get(url, timeout=_WAIT_S).text:
        time.sleep(0.2)
    print(f"the fleet read for the first time after {time.perf_counter() - started:.1f} s", flush=True)


def _print_page(client: httpx.Client, server: int, name: str, url: str, rounds: int) -> None:
    times, before_s = [], _read_cpu_seconds(server)
    for _ in range(rounds):
        started = time.perf_counter()
        size = _fetch(client, url)[1]
        times.append(1000 * (time.perf_counter() - started))
    cpu_ms = 1000 * (_read_cpu_seconds(server) - before_s) / rounds
    print(f"{name:16} {format_spread(times, '.0f')} ms, {cpu_ms:.0f} ms of CPU, {size / 1000:.1f} kB", flush=True)


def _read_cpu_seconds(process: int) -> float:
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def _print_first_visit(client: httpx.Client, url: str) -> None:
    page, size = _fetch(client, url)
    assets = sorted(set(_ASSET.findall(page)))
    total = size + sum(_fetch(client, str(httpx.URL(url).join(path)))[1] for path in assets)
    print(f"first visit: the page and {len(assets)} static files, {total / 1000:.1f} kB", flush=True)


def _fetch(client: httpx.Client, url: str) -> tuple[str, int]:
    """Return a page's text, and its bytes on the wire."""
    with client.stream("GET", url) as answer:
        text = b"".join(answer.iter_bytes()).decode()
        if answer.status_code != 200:
            raise SystemExit(f"{url}: status {answer.status_code}")
        return text, answer.num_bytes_downloaded


if __name__ == "__main__":
    main()
