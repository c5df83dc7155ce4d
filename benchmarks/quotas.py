"""By how much servers that share a quota exceed it, and what a request costs, at 1, 2 and 4 servers.

    python benchmarks/quotas.py [--seconds 10] [--servers 1 2 4] [--per-minute 6000] [--postgresql]

Each server is a process with its own connections; all send requests of one tenant as fast as they are refused or
admitted, ten at a time, with a pause of 1 ms. Allowed is what one bucket gives: one minute's quota at once, and what
flows in meanwhile. The time of a request is that of `Quotas.admit`; the last column is for a tenant without a quota.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack

from harness.postgresql_server import run_postgresql

from components.config.serve import AccessConfig
from components.rollout.store.database import open_database_url
from components.rollout.store.quota_leases import QuotaLeases
from components.serving.errors import RefusalError
from components.serving.http.quotas import Quotas

CLIENTS = 10
PAUSE_S = 0.001


class CountedLeases(QuotaLeases):
    """Counts transactions."""

    count = 0

    def take(self, *arguments, **options):
        """Count, and do as the parent."""
        self.count += 1
        return super().take(*arguments, **options)


def main() -> None:
    """Print a table of servers, over-limit and costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--per-minute", type=int, default=6000)
    parser.add_argument("--postgresql", action="store_true", help="not SQLite")
    parser.add_argument("--serve", nargs=2, metavar=("URL", "BEGIN"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        print(json.dumps(asyncio.run(_send(chosen.serve[0], float(chosen.serve[1]), chosen))))
        return
    print(f"{chosen.per_minute} requests a minute, {'PostgreSQL' if chosen.postgresql else 'SQLite'}")
    print("servers  admitted  allowed  over  tries  transactions  admit, median  p99  without limits")
    for servers in chosen.servers:
        _print_row(servers, chosen)


def _print_row(servers: int, chosen: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = stack.enter_context(run_postgresql()) if chosen.postgresql else f"sqlite:///{folder}/quotas.db"
        open_database_url(url).close()
        options = ["--seconds", str(chosen.seconds), "--per-minute", str(chosen.per_minute)]
        command = [sys.executable, __file__, *options, "--serve", url, str(time.time() + 5 + 3 * servers)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(servers)]
        rows = [json.loads(one.communicate()[0]) for one in running]
    span_s = max(row["ended_s"] for row in rows) - min(row["began_s"] for row in rows)
    admitted = sum(row["admitted"] for row in rows)
    allowed = chosen.per_minute * (1 + span_s / 60)
    micros = {name: statistics.median(row[name] for row in rows) for name in ("median_us", "p99_us", "unlimited_us")}
    print(
        f"{servers:7}  {admitted:8}  {allowed:7.0f}  {100 * (admitted / allowed - 1):+.1f} %"
        f"  {sum(row['tries'] for row in rows)}  {sum(row['transactions'] for row in rows)}"
        f"  {micros['median_us']:.0f} us  {micros['p99_us']:.0f} us  {micros['unlimited_us']:.1f} us"
    )


async def _send(url: str, begin_s: float, chosen: argparse.Namespace) -> dict[str, float]:
    database = open_database_url(url)
    leases = CountedLeases(database, f"{time.time_ns():x}")
    limits = {"limited": AccessConfig(requests_per_minute=chosen.per_minute), "unlimited": AccessConfig()}
    quotas = Quotas(limits.__getitem__, time.monotonic, leases)
    beating = asyncio.create_task(quotas.run_forever())
    begun = time.perf_counter()
    for _ in range(10_000):
        await quotas.admit("unlimited", 1)
    unlimited_us = (time.perf_counter() - begun) * 100
    await asyncio.sleep(max(0.0, begin_s - time.time()))
    began_s, seconds, tries = time.time(), [], 0

    async def send() -> None:
        nonlocal tries
        while time.time() < began_s + chosen.seconds:
            begun = time.perf_counter()
            tries += 1
            try:
                await quotas.admit("limited", 1)
                seconds.append(time.perf_counter() - begun)
            except RefusalError:
                pass
            await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(send() for _ in range(CLIENTS)))
    ended_s = time.time()
    beating.cancel()
    await quotas.close()
    database.close()
    ordered = sorted(seconds) or [0.0]
    return {
        "admitted": len(seconds),
        "tries": tries,
        "transactions": leases.count,
        "began_s": began_s,
        "ended_s": ended_s,
        "median_us": 1e6 * ordered[len(ordered) // 2],
        "p99_us": 1e6 * ordered[int(0.99 * len(ordered))],
        "unlimited_us": unlimited_us,
    }


if __name__ == "__main__":
    main()
