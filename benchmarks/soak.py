"""A soak test: a real server under sustained load, with version swaps, evictions and clients that disconnect.

    python benchmarks/soak.py [--quick] [--minutes 1] [--tenants 48] [--clients 16]

Every version of every tenant writes a different text, which is computed beforehand. Each answer must be the text of the
version in its headers, and the tenant's alias must have pointed to that version at some time. The server's memory and
disk for artifacts are smaller than all artifacts, so that artifacts are evicted and loaded again. Every `--swap-every`
seconds an alias moves in MLflow. Every seventh request is cancelled after the first piece. At the end the server's
counts of requests must equal the clients', no request may be left in the server, and memory must have stopped growing.
Otherwise the exit status is 1. How long former versions were used after a move is printed, not checked.

Then the attacks of `harness.attacks` come one after the other on a new server with room for all artifacts,
`--attack-seconds` each: the waits of a victim, a tenant whose requests must all be answered, are printed beside those
without an attack and those beside as much work as the attackers', and the server's memory before and after.
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
import yaml
from harness.attacks import ATTACKS, BEAMS
from harness.prefixfleet_server import ServedFleet, ServerProcess, make_fleet, run_server
from harness.victim import print_attacks
from harness.workspaces import make_tenant_ids

_TOKENS = 24
_SLOTS = 64
_CURVE_POINTS = 10
_SETTLING_SHARE = 1 / 3
"""Share of the duration after which memory must not grow."""


class Soak:
    """The clients of a soak test, what they measured, and the errors that they found."""

    def __init__(self, fleet: ServedFleet, server: ServerProcess, seconds: float, seed: int) -> None:
        self.fleet, self.server = fleet, server
        self.until_s = time.monotonic() + seconds
        self.rng = random.Random(seed)
        self.alias_moves = {tenant: [(0.0, fleet.versions[0])] for tenant in fleet.tenants}
        """Tenant -> (time, version) of the moves of its alias, the newest last."""
        self.statuses: Counter[int] = Counter()
        self.waits: list[float] = []
        self.cancelled_count = 0
        self.longest_alias_delay_s = 0.0
        """The longest time between the move of an alias and the start of a request that got the former version."""
        self.memory_samples: list[tuple[float, int]] = []
        self.errors: list[str] = []

    async def run(self, clients: int, swap_every: float) -> None:
        """Run all clients until the time is over."""
        limits = httpx.Limits(max_connections=2 * clients)
        async with httpx.AsyncClient(base_url=self.server.url, timeout=60, limits=limits) as client:
            await asyncio.gather(
                *(self._ask(client) for _ in range(clients)), self._swap_aliases(swap_every), self._watch_memory()
            )

    async def _ask(self, client: httpx.AsyncClient) -> None:
        count = 0
        while time.monotonic() < self.until_s:
            count += 1
            tenant, source = self.rng.choice(self.fleet.tenants), self.rng.choice(self.fleet.sources)
            body = {"model": tenant, "prompt": source, "max_tokens": _TOKENS, "temperature": 0}
            started = time.monotonic()
            try:
                if count % 7 == 0:
                    await self._ask_and_cancel(client, body)
                elif count % 3 == 0:
                    await self._stream(client, body, started)
                else:
                    answer = await client.post("/v1/completions", json=body)
                    text = answer.json()["choices"][0]["text"] if answer.is_success else answer.text
                    self._check_answer(body, started, answer, text)
            except httpx.HTTPError as problem:
                self.errors.append(f"{tenant}: no answer: {problem!r}")

    async def _stream(self, client: httpx.AsyncClient, body: dict[str, object], started: float) -> None:
        text = ""
        async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    text += event["choices"][0]["text"] if "choices" in event else f"error: {event}"
        self._check_answer(body, started, answer, text)

    async def _ask_and_cancel(self, client: httpx.AsyncClient, body: dict[str, object]) -> None:
        async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            async for _ in answer.aiter_lines():
                break
        self.cancelled_count += 1

    def _check_answer(self, body: dict[str, object], started: float, answer: httpx.Response, text: str) -> None:
        self.statuses[answer.status_code] += 1
        self.waits.append(time.monotonic() - started)
        tenant, source = str(body["model"]), str(body["prompt"])
        if not answer.is_success:
            self.errors.append(f"{tenant}: {answer.status_code} {text}")
            return
        version, owner = answer.headers["x-prefixfleet-version"], answer.headers["x-prefixfleet-tenant"]
        if owner != tenant or text != self.fleet.expected_answers[tenant, version, source]:
            self.errors.append(f"{tenant}, version {version} of {owner}, {source!r}: {text!r}")
        moves = self.alias_moves[tenant]
        ends = [self._find_end_of_move(moves, index) for index, (_, move) in enumerate(moves) if move == version]
        if ends:
            self.longest_alias_delay_s = max(self.longest_alias_delay_s, started - max(ends))
        else:
            self.errors.append(f"{tenant}: version {version}, to which its alias never pointed")

    @staticmethod
    def _find_end_of_move(moves: list[tuple[float, str]], index: int) -> float:
        """Return the time of the next move; infinity if there is none."""
        return moves[index + 1][0] if index + 1 < len(moves) else float("inf")

    async def _swap_aliases(self, every_s: float) -> None:
        registry = self.fleet.workspace.registry
        while time.monotonic() < self.until_s:
            tenant = self.rng.choice(self.fleet.tenants)
            current = self.alias_moves[tenant][-1][1]
            version = next(one for one in self.fleet.versions if one != current)
            self.alias_moves[tenant].append((time.monotonic(), version))  # before the server can read it
            await asyncio.to_thread(registry.set_alias, tenant, "champion", version)
            await asyncio.sleep(every_s)

    async def _watch_memory(self) -> None:
        started = time.monotonic()
        while time.monotonic() < self.until_s:
            self.memory_samples.append((time.monotonic() - started, self.server.read_resident_bytes()))
            await asyncio.sleep(1)


def main() -> None:
    """Run the soak test and print its figures and errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds and few tenants: a check that everything runs"
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--tenants", type=int, default=48)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--swap-every", type=float, default=0.5, help="seconds between the moves of aliases")
    parser.add_argument(
        "--slope", type=float, default=5.0, help="largest growth of memory in MB per minute, after a third of the time"
    )
    parser.add_argument("--attack-seconds", type=float, default=10.0, help="for each attack; 0: no attacks")
    parser.add_argument("--attack", nargs="+", choices=list(ATTACKS), default=list(ATTACKS), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.quick:
        options.minutes, options.tenants, options.clients, options.slope = 0.1, 20, 4, float("inf")
        options.attack_seconds = 0.7
    with tempfile.TemporaryDirectory() as scratch:
        serve = {"device_mb": 1, "disk_mb": 1, "follow_seconds": 1.0, "open_metrics": True}
        fleet = make_fleet(Path(scratch), make_tenant_ids(options.tenants), _SLOTS, _TOKENS, serve)
        with run_server(Path(scratch), {"OMP_NUM_THREADS": "1"}) as server:
            cold_s = server.wait_ready()
            soak = Soak(fleet, server, 60 * options.minutes, options.seed)
            asyncio.run(soak.run(options.clients, options.swap_every))
            _print_results(soak, cold_s, options)
        if options.attack_seconds:
            attacker = {"evaluate": {"num_beams": BEAMS}}
            params = {"base": {"path": "base"}, "tenants": {fleet.tenants[0]: attacker}}
            (Path(scratch) / "params.yaml").write_text(yaml.safe_dump(params))
            with run_server(Path(scratch), {"OMP_NUM_THREADS": "1"}) as server:
                server.wait_ready()
                print_attacks(fleet, server, options.attack, options.attack_seconds)


def _print_results(soak: Soak, cold_s: float, options: argparse.Namespace) -> None:
    until = time.monotonic() + 10
    while (health := soak.server.read_health())["requests_in_flight"] + health[
        "rows_running"
    ] and time.monotonic() < until:
        time.sleep(0.1)
    server_counts = soak.server.read_status_counts()
    settled = [one for one in soak.memory_samples if one[0] >= _SETTLING_SHARE * soak.memory_samples[-1][0]]
    slope = linear_regression(*zip(*settled, strict=True)).slope * 60 / 1e6
    moves = sum(len(one) - 1 for one in soak.alias_moves.values())
    cuts = quantiles(soak.waits, n=100)
    answered = sum(soak.statuses.values())
    print(
        f"{options.minutes} minutes, {options.tenants} tenants, {options.clients} clients; ready after {cold_s:.1f} s"
    )
    print(
        f"{answered:,} requests answered ({answered / options.minutes / 60:.1f} per second): {dict(soak.statuses)}; "
        f"{soak.cancelled_count:,} cancelled"
    )
    print(
        f"waiting in seconds: p50 {cuts[49]:.3f}, p95 {cuts[94]:.3f}, p99 {cuts[98]:.3f}, longest {max(soak.waits):.3f}"
    )
    print(f"{moves} aliases moved; {health['resident_prefixes']} of {2 * options.tenants} artifacts are resident")
    print(f"former versions were used for up to {soak.longest_alias_delay_s:.2f} s after the move of an alias")
    curve = [
        soak.memory_samples[part * (len(soak.memory_samples) - 1) // _CURVE_POINTS][1] / 1e6
        for part in range(_CURVE_POINTS + 1)
    ]
    over_time = " ".join(f"{megabytes:.1f}" for megabytes in curve)
    print(f"memory at each tenth of the time: {over_time} MB; {slope:+.2f} MB per minute after a third of the time")
    errors = list(soak.errors)
    if health["requests_in_flight"] or health["rows_running"] or health["rows_queued"]:
        errors.append(f"requests are left in the server: {health}")
    if health["troubles"]:
        errors.append(f"the server reports troubles: {health['troubles']}")
    if sum(server_counts.values()) != answered + soak.cancelled_count:
        client_counts = f"{answered} answered and {soak.cancelled_count} cancelled"
        errors.append(f"the server counts {server_counts}, the clients {client_counts}")
    if health["resident_prefixes"] >= 2 * options.tenants:
        errors.append("no artifact was evicted")
    if slope > options.slope:
        errors.append(f"memory grows by {slope:.2f} MB per minute")
    for error in errors[:20]:
        print(f"ERROR: {error}")
    if errors:
        raise SystemExit(f"{len(errors)} errors")
    print("no errors: every answer is that of its tenant and version, no request is lost or left in the server")


if __name__ == "__main__":
    main()
