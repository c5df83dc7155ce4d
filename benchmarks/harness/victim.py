"""A victim beside attackers: a tenant that sends one request after the other, and how long its answers take.

The attackers run in a process of their own, as on other machines they would; here they share the cores with the server
and the victim. So each attack is followed by a control: the victim alone beside a process that uses as much processor
time as the attackers did and sends nothing. What the victim waits longer than in its control is the server's part.
"""

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import httpx

from harness.attacks import Target
from harness.prefixfleet_server import ServedFleet, ServerProcess

_TOKENS = 24
_PAUSE_S = 0.02
_WARM_S = 1.0


@dataclass(frozen=True)
class VictimWaits:
    """Seconds that the victim's requests and its requests of /healthz took, and their errors."""

    answers: Sequence[float]
    health: Sequence[float]
    errors: Sequence[str]

    @property
    def cuts(self) -> Sequence[float]:
        """The percentiles of the answers, from the first to the 99th."""
        return quantiles(self.answers, n=100) if len(self.answers) > 1 else [0.0] * 99

    def describe(self) -> str:
        """Return the figures in one line."""
        health = max(self.health, default=0.0)
        return f"p50 {self.cuts[49]:.3f}, p99 {self.cuts[98]:.3f} of {len(self.answers)}; /healthz at most {health:.3f}"


async def measure_victim(url: str, tenant: str, source: str, seconds: float) -> VictimWaits:
    """Send requests of the victim and of /healthz in turn."""
    body = {"model": tenant, "prompt": source, "max_tokens": _TOKENS, "temperature": 0}
    answers, health, errors = [], [], []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            for waits, send in (
                (answers, lambda: client.post("/v1/completions", json=body)),
                (health, lambda: client.get("/healthz")),
            ):
                started_s = time.monotonic()
                try:
                    answer = await send()
                except httpx.HTTPError as problem:
                    errors.append(f"the victim got no answer: {problem!r}")
                    continue
                waits.append(time.monotonic() - started_s)
                if not answer.is_success:
                    errors.append(f"the victim got {answer.status_code}: {answer.text}")
            await asyncio.sleep(_PAUSE_S)
    return VictimWaits(answers, health, errors)


@contextmanager
def run_beside(*arguments: str) -> Iterator[None]:
    """Run `harness.attacks` with these arguments in a process of its own during the block."""
    command = [sys.executable, "-m", "harness.attacks", *arguments]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        assert process.poll() is None, f"the process {arguments[0]} ended with {process.returncode}"
    finally:
        process.kill()
        process.communicate()


def print_attacks(fleet: ServedFleet, server: ServerProcess, names: Sequence[str], seconds: float) -> None:
    """Run these attacks one after the other, and print two lines for each: beside it, and beside as much work.

    Raises:
        SystemExit: a request of the victim was not answered.
    """
    target = Target(server.url, fleet.tenants[0], fleet.sources[0])

    def measure(seconds: float) -> VictimWaits:
        return asyncio.run(measure_victim(server.url, fleet.tenants[1], fleet.sources[0], seconds))

    measure(_WARM_S)
    before = server.read_resident_bytes()
    alone = measure(seconds)
    print(f"seconds of a victim alone: {alone.describe()}")
    errors = list(alone.errors)
    for name in names:
        used_s, started_s = _read_children_seconds(), time.monotonic()
        with run_beside(name, target.url, target.attacker, target.source):
            beside = measure(seconds)
        share = (_read_children_seconds() - used_s) / (time.monotonic() - started_s)
        memory = f"{server.read_resident_bytes() / 1e6:.0f} MB"
        print(f"seconds of a victim beside {name}: {_describe(beside, alone)}; {memory}")
        with run_beside("work", f"{min(share, 1.0):.3f}"):
            control = measure(seconds)
        print(f"  beside as much work as the attackers' ({share:.2f} of a core): {_describe(control, alone)}")
        errors += [f"beside {name}: {error}" for error in (*beside.errors, *control.errors)]
    print(f"memory before the attacks {before / 1e6:.0f} MB, after them {server.read_resident_bytes() / 1e6:.0f} MB")
    if errors:
        raise SystemExit("\n".join(f"ERROR: {error}" for error in errors[:20]))
    print("every request of the victim was answered")


def _describe(waits: VictimWaits, alone: VictimWaits) -> str:
    ratio = waits.cuts[98] / alone.cuts[98] if alone.cuts[98] else 0.0
    return f"{waits.describe()}; p99 {ratio:.1f} times that alone"


def _read_children_seconds() -> float:
    """Return the processor time of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
