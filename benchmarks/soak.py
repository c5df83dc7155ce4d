"""A soak: a real server under a sustained load, with swaps, rollbacks, evictions and callers who leave.

    python benchmarks/soak.py [--quick] [--minutes 1] [--tenants 48] [--clients 16]

Every version of every tenant writes something of its own, known beforehand; each answer must be that of the version
named in its headers, and the version one that the tenant had at that time. The server's memory for artifacts holds
fewer than there are, on disk too, so that they come and go. Aliases are moved and moved back every `--swap-every`
seconds through MLflow. Every seventh caller leaves after the first piece. At the end the server's own counts must be
ours, nothing may be left in it, and its memory is printed with its slope. Anything else ends it with status 1.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import linear_regression, quantiles

import httpx
from harness.prefixfleet_server import ServedFleet, ServerProcess, make_fleet, run_server
from harness.workspaces import make_tenant_ids

_TOKENS = 24
_SLOTS = 64
_ALIAS_DELAY_S = 5.0
"""After which no request may begin on the version that was before."""
_CURVE_POINTS = 10
_SETTLING_SHARE = 1 / 3
"""The share of the time after which memory must not grow any more."""


class Soak:
    """What was asked and answered, and what was wrong with it."""

    def __init__(self, fleet: ServedFleet, server: ServerProcess, seconds: float, seed: int) -> None:
        self.fleet, self.server = fleet, server
        self.until_s = time.monotonic() + seconds
        self.rng = random.Random(seed)
        self.alias_moves = {tenant: [(0.0, fleet.versions[0])] for tenant in fleet.tenants}
        """(when, version) of each tenant's alias, the newest last."""
        self.statuses: Counter[int] = Counter()
        self.waits: list[float] = []
        self.left_count = 0
        self.memory_samples: list[tuple[float, int]] = []
        self.mistakes: list[str] = []

    async def run(self, clients: int, swap_every: float) -> None:
        """Until the time is over."""
        limits = httpx.Limits(max_connections=2 * clients)
        async with httpx.AsyncClient(base_url=self.server.url, timeout=60, limits=limits) as client:
            await asyncio.gather(
                *(self._ask(client) for _ in range(clients)), self._swap_aliases(swap_every), self._watch_memory()
            )

    async def _ask(self, client: httpx.AsyncClient) -> None:
        asked = 0
        while time.monotonic() < self.until_s:
            asked += 1
            tenant, source = self.rng.choice(self.fleet.tenants), self.rng.choice(self.fleet.sources)
            body = {"model": tenant, "prompt": source, "max_tokens": _TOKENS, "temperature": 0}
            began = time.monotonic()
            try:
                if asked % 7 == 0:
                    await self._ask_and_leave(client, body)
                elif asked % 3 == 0:
                    await self._stream(client, body, began)
                else:
                    answer = await client.post("/v1/completions", json=body)
                    text = answer.json()["choices"][0]["text"] if answer.is_success else answer.text
                    self._check_answer(body, began, answer, text)
            except httpx.HTTPError as problem:
                self.mistakes.append(f"{tenant}: lost: {problem!r}")

    async def _stream(self, client: httpx.AsyncClient, body: dict[str, object], began: float) -> None:
        text = ""
        async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    told = json.loads(line.removeprefix("data: "))
                    text += told["choices"][0]["text"] if "choices" in told else f"error: {told}"
        self._check_answer(body, began, answer, text)

    async def _ask_and_leave(self, client: httpx.AsyncClient, body: dict[str, object]) -> None:
        async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            async for _ in answer.aiter_lines():
                break
        self.left_count += 1

    def _check_answer(self, body: dict[str, object], began: float, answer: httpx.Response, text: str) -> None:
        self.statuses[answer.status_code] += 1
        self.waits.append(time.monotonic() - began)
        tenant, source = str(body["model"]), str(body["prompt"])
        if not answer.is_success:
            self.mistakes.append(f"{tenant}: {answer.status_code} {text}")
            return
        version, said = answer.headers["x-prefixfleet-version"], answer.headers["x-prefixfleet-tenant"]
        if said != tenant or text != self.fleet.expected_answers[tenant, version, source]:
            self.mistakes.append(f"{tenant}, version {version} of {said}, {source!r}: {text!r}")
        moves = self.alias_moves[tenant]
        possible = {
            move
            for place, (_, move) in enumerate(moves)
            if self._find_end_of_move(moves, place) >= began - _ALIAS_DELAY_S
        }
        if version not in possible:
            self.mistakes.append(f"{tenant}: version {version}, {_ALIAS_DELAY_S} s after it was left")

    @staticmethod
    def _find_end_of_move(moves: list[tuple[float, str]], place: int) -> float:
        """Until when a move stood."""
        return moves[place + 1][0] if place + 1 < len(moves) else float("inf")

    async def _swap_aliases(self, every: float) -> None:
        registry = self.fleet.workspace.registry
        while time.monotonic() < self.until_s:
            tenant = self.rng.choice(self.fleet.tenants)
            now = self.alias_moves[tenant][-1][1]
            version = next(one for one in self.fleet.versions if one != now)
            await asyncio.to_thread(registry.set_alias, tenant, "champion", version)
            self.alias_moves[tenant].append((time.monotonic(), version))
            await asyncio.sleep(every)

    async def _watch_memory(self) -> None:
        began = time.monotonic()
        while time.monotonic() < self.until_s:
            self.memory_samples.append((time.monotonic() - began, self.server.read_resident_bytes()))
            await asyncio.sleep(1)


def main() -> None:
    """Soak, and say what was seen."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="12 seconds and few tenants: shows that everything runs")
    made.add_argument("--minutes", type=float, default=1.0)
    made.add_argument("--tenants", type=int, default=48)
    made.add_argument("--clients", type=int, default=16)
    made.add_argument("--swap-every", type=float, default=0.5, help="seconds")
    made.add_argument("--slope", type=float, default=5.0, help="MB a minute that memory may grow by, once settled")
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    if options.quick:
        options.minutes, options.tenants, options.clients, options.slope = 0.2, 20, 4, float("inf")
    with tempfile.TemporaryDirectory() as scratch:
        serve = {"device_mb": 1, "disk_mb": 1, "follow_seconds": 1.0, "open_metrics": True}
        fleet = make_fleet(Path(scratch), make_tenant_ids(options.tenants), _SLOTS, _TOKENS, serve)
        with run_server(Path(scratch), {"OMP_NUM_THREADS": "1"}) as server:
            cold_s = server.wait_ready()
            soak = Soak(fleet, server, 60 * options.minutes, options.seed)
            asyncio.run(soak.run(options.clients, options.swap_every))
            _print_results(soak, cold_s, options)


def _print_results(soak: Soak, cold_s: float, options: argparse.Namespace) -> None:
    until = time.monotonic() + 10
    while (health := soak.server.read_health())["requests_in_flight"] + health[
        "rows_running"
    ] and time.monotonic() < until:
        time.sleep(0.1)
    counted = soak.server.read_status_counts()
    settled = [one for one in soak.memory_samples if one[0] >= _SETTLING_SHARE * soak.memory_samples[-1][0]]
    slope = linear_regression(*zip(*settled, strict=True)).slope * 60 / 1e6
    moves = sum(len(one) - 1 for one in soak.alias_moves.values())
    cuts = quantiles(soak.waits, n=100)
    asked = sum(soak.statuses.values())
    print(
        f"{options.minutes} minutes, {options.tenants} tenants, {options.clients} clients; ready after {cold_s:.1f} s"
    )
    print(
        f"{asked:,} answered ({asked / options.minutes / 60:.1f} a second): {dict(soak.statuses)}; "
        f"{soak.left_count:,} left"
    )
    print(f"seconds: p50 {cuts[49]:.3f}, p95 {cuts[94]:.3f}, p99 {cuts[98]:.3f}, longest {max(soak.waits):.3f}")
    print(f"{moves} aliases moved; {health['resident_prefixes']} of {2 * options.tenants} artifacts are resident")
    curve = [
        soak.memory_samples[part * (len(soak.memory_samples) - 1) // _CURVE_POINTS][1] / 1e6
        for part in range(_CURVE_POINTS + 1)
    ]
    over_time = " ".join(f"{megabytes:.1f}" for megabytes in curve)
    print(f"memory at each {_CURVE_POINTS}th of the time: {over_time} MB; {slope:+.2f} MB a minute once settled")
    wrong = list(soak.mistakes)
    if health["requests_in_flight"] or health["rows_running"] or health["rows_queued"]:
        wrong.append(f"left in the server: {health}")
    if health["troubles"]:
        wrong.append(f"troubles: {health['troubles']}")
    if sum(counted.values()) != asked + soak.left_count:
        wrong.append(f"the server counts {counted}, its callers {asked} and {soak.left_count} who left")
    if health["resident_prefixes"] >= 2 * options.tenants:
        wrong.append("nothing was evicted")
    if slope > options.slope:
        wrong.append(f"memory grows by {slope:.2f} MB a minute")
    for one in wrong[:20]:
        print(f"WRONG: {one}")
    if wrong:
        raise SystemExit(f"{len(wrong)} things were wrong")
    print("no wrong tenant, no mixture, no lost request, nothing left behind")


if __name__ == "__main__":
    main()
