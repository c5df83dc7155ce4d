"""Clients that try to stop a server: large bodies, silent connections, floods, clients that do not read.

Each attack runs until it is cancelled. Beside each, a victim of another tenant sends one request after the other, and
its waits are compared with those without an attack. Knows the server's API; does not know its parts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import quantiles
from urllib.parse import urlsplit

import httpx

from harness.prefixfleet_server import ServedFleet, ServerProcess

_TOKENS = 24
_PAUSE_S = 0.02
_CALLERS = 20
_SILENT_CONNECTIONS = 300
_UNREAD_S = 60.0
_WARM_S = 1.0


@dataclass(frozen=True)
class Target:
    """A server, the attacker's tenant, the victim's tenant, and a source."""

    url: str
    attacker: str
    victim: str
    source: str


@dataclass(frozen=True)
class VictimWaits:
    """Seconds that the victim's requests and its requests of /healthz took, and their errors."""

    answers: Sequence[float]
    health: Sequence[float]
    errors: Sequence[str]

    def describe(self) -> str:
        """Return the figures in one line."""
        cuts = quantiles(self.answers, n=100) if len(self.answers) > 1 else [0.0] * 99
        health = max(self.health, default=0.0)
        return f"p50 {cuts[49]:.3f}, p99 {cuts[98]:.3f} of {len(self.answers)}; /healthz at most {health:.3f}"


async def measure_victim(target: Target, seconds: float) -> VictimWaits:
    """Send requests of the victim and of /healthz in turn."""
    body = {"model": target.victim, "prompt": target.source, "max_tokens": _TOKENS, "temperature": 0}
    answers, health, errors = [], [], []
    async with httpx.AsyncClient(base_url=target.url, timeout=60) as client:
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


async def measure_beside(attack: Callable[[Target], Awaitable[None]], target: Target, seconds: float) -> VictimWaits:
    """Measure the victim while the attack runs."""
    attacking = asyncio.ensure_future(attack(target))
    try:
        return await measure_victim(target, seconds)
    finally:
        attacking.cancel()
        with suppress(asyncio.CancelledError):
            await attacking


async def send_large_bodies(target: Target) -> None:
    """Bodies of 1 MB of small values, of nested lists, and of unknown keys."""
    start = f'{{"model": "{target.attacker}", '.encode()
    bodies = (
        start + b'"input": {"a": [' + b"{}," * 320_000 + b"{}]}}",
        start + b'"prompt": [' + b"1," * 480_000 + b"1]}",
        start + b'"prompt": ' + b"[" * 950 + b"]" * 950 + b"}",
        start + b",".join(b'"%d": 1' % number for number in range(80_000)) + b"}",
        start + b'"input": {"a": [' + b"{}," * 3_000 + b"{}]}}",
        start + b'"prompt": "' + b"x" * 900_000 + b'"}',
    )
    await asyncio.gather(*(_post_forever(target, bodies[number % len(bodies)]) for number in range(6)))


async def flood_with_rows(target: Target) -> None:
    """20 callers of 64 rows each: more than the queue has places for."""
    sources = ", ".join(f'"{target.source}"' for _ in range(64))
    body = f'{{"model": "{target.attacker}", "prompt": [{sources}], "max_tokens": {_TOKENS}}}'.encode()
    await asyncio.gather(*(_post_forever(target, body) for _ in range(_CALLERS)))


async def hold_silent_connections(target: Target) -> None:
    """Connections that send nothing, half a header, or half a body, and are opened again once they are closed."""
    header = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n"
    starts = (b"", header, header + b"\r\n{")
    await asyncio.gather(*(_hold_forever(target, starts[number % 3]) for number in range(_SILENT_CONNECTIONS)))


async def stream_without_reading(target: Target) -> None:
    """Long streams with log probabilities that nobody reads."""
    prompts = ", ".join(f'"{target.source}"' for _ in range(16))
    body = f'{{"model": "{target.attacker}", "prompt": [{prompts}], "max_tokens": 200, "logprobs": 5, "stream": true}}'
    header = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    request = f"{header}content-length: {len(body)}\r\n\r\n{body}".encode()
    await asyncio.gather(*(_hold_forever(target, request, reads=False) for _ in range(4)))


async def send_garbage(target: Target) -> None:
    """What is not HTTP, bodies in chunks of one byte, and headers of many fields."""
    chunked = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
    parts = (
        b"\x16\x03\x01" * 1000 + b"\r\n\r\n",
        chunked + b"\r\n" + b"1\r\nx\r\n" * 20_000,
        chunked + b"content-length: 5\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 50_000 + b"\r\n",
    )
    await asyncio.gather(*(_hold_forever(target, part) for part in parts))


ATTACKS: dict[str, Callable[[Target], Awaitable[None]]] = {
    "large bodies": send_large_bodies,
    "floods of rows": flood_with_rows,
    "silent connections": hold_silent_connections,
    "unread streams": stream_without_reading,
    "garbage": send_garbage,
}


async def print_attacks(fleet: ServedFleet, server: ServerProcess, seconds: float) -> None:
    """Run all attacks one after the other, and print a line for each.

    Raises:
        SystemExit: a request of the victim was not answered.
    """
    target = Target(server.url, fleet.tenants[0], fleet.tenants[1], fleet.sources[0])
    await measure_victim(target, _WARM_S)
    before = server.read_resident_bytes()
    alone = await measure_victim(target, seconds)
    print(f"seconds of a victim alone: {alone.describe()}")
    errors = list(alone.errors)
    for name, attack in ATTACKS.items():
        beside = await measure_beside(attack, target, seconds)
        print(f"seconds of a victim beside {name}: {beside.describe()}; {server.read_resident_bytes() / 1e6:.0f} MB")
        errors += [f"beside {name}: {error}" for error in beside.errors]
    print(f"memory before the attacks {before / 1e6:.0f} MB, after them {server.read_resident_bytes() / 1e6:.0f} MB")
    if errors:
        raise SystemExit("\n".join(f"ERROR: {error}" for error in errors[:20]))
    print("every request of the victim was answered")


async def _post_forever(target: Target, body: bytes) -> None:
    async with httpx.AsyncClient(base_url=target.url, timeout=120) as client:
        while True:
            with suppress(httpx.HTTPError):
                await client.post("/v1/completions", content=body, headers={"content-type": "application/json"})


async def _hold_forever(target: Target, content: bytes, *, reads: bool = True) -> None:
    """Send `content`, wait for the end of the connection, and begin again; or, unless `reads`, read nothing."""
    address = urlsplit(target.url)
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                if not reads:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(content)
                await (reader.read() if reads else asyncio.sleep(_UNREAD_S))
            finally:
                writer.close()
        await asyncio.sleep(_PAUSE_S)
