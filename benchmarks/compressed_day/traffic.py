"""The callers of a day: requests along a curve, several clients, streams, feedback, corrections, and intruders.

Every answer is kept with what its headers say. A caller does what OpenAI's client does: an answer that says when to ask
again (429 or 503 with Retry-After) is asked again. Everything else that is no answer counts as a lost request.
"""

import asyncio
import json
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from compressed_day.texts import get_word, has_word, list_sources, make_sentence

_TIMEOUT_S = 120.0
_PATIENCE_S = 150.0
"""How long a caller asks again."""
_RATED_SHARE, _CORRECTED_SHARE, _STREAMED_SHARE, _INTRUDER_SHARE = 0.6, 0.05, 0.3, 0.02
_HOT_SHARE = 0.7
"""Of the requests that go to tenants that changed in the night."""
_USERS = 5000
_MAX_TOKENS = 16


@dataclass
class Exchange:
    """A request and what came of it."""

    tenant: str
    source: str
    started_s: float
    text: str = ""
    version: str = ""
    owner: str = ""
    artifact: str = ""
    status: int = 0
    ended_s: float = 0.0
    attempts: int = 0
    problem: str = ""
    """Why there is no answer; "": there is one."""


@dataclass
class Traffic:
    """All callers; they run in a thread with an event loop of its own."""

    url: str
    key: str
    """A key of an operator, which may ask for every tenant."""
    intruder: tuple[str, str]
    """A tenant and its key, which must be refused for every other tenant."""
    tenants: Sequence[str]
    hot: Sequence[str]
    """Tenants with more traffic."""
    peak: float
    """Requests per second at noon."""
    seconds: float
    """Of the day."""
    seed: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    in_flight: dict[int, Exchange] = field(default_factory=dict)
    feedback: list[tuple[str, str, bool]] = field(default_factory=list)
    """Tenant, id of the answer, whether it is a correction; of all feedback that was accepted."""
    refused_feedback: list[str] = field(default_factory=list)
    intrusions: list[int] = field(default_factory=list)
    """Status of each request of a tenant's key for another tenant."""

    def __post_init__(self) -> None:
        self._rng, self._ended = random.Random(self.seed), threading.Event()
        self._sources = list_sources("train") + list_sources("test")
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Begin the day."""
        self._started_s = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Send no further requests, and wait for the answers to those that were sent."""
        self._ended.set()
        self._thread.join()

    def get_rate(self, elapsed_s: float) -> float:
        """Return the requests per second at a time of the day: most at two in the afternoon, a tenth at night."""
        hour = 24 * elapsed_s / self.seconds
        return self.peak * (0.55 + 0.45 * math.cos(2 * math.pi * (hour - 14) / 24))

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=_TIMEOUT_S, limits=limits) as client,
            asyncio.TaskGroup() as callers,
        ):
            while not self._ended.is_set():
                callers.create_task(self._call(client))
                rate = self.get_rate(time.monotonic() - self._started_s)
                await asyncio.sleep(self._rng.expovariate(max(rate, 0.2)))

    async def _call(self, client: httpx.AsyncClient) -> None:
        if self._rng.random() < _INTRUDER_SHARE:
            await self._intrude(client)
            return
        tenant = self._rng.choice(self.hot if self._rng.random() < _HOT_SHARE else self.tenants)
        exchange = Exchange(tenant, self._rng.choice(self._sources), time.monotonic())
        self.exchanges.append(exchange)
        self.in_flight[id(exchange)] = exchange
        body = {"model": tenant, "prompt": exchange.source, "user": f"user-{self._rng.randrange(_USERS)}"}
        body |= {"max_tokens": _MAX_TOKENS, "temperature": 0, "stream": self._rng.random() < _STREAMED_SHARE}
        try:
            answer_id = await self._repeat(lambda: self._ask(client, body, exchange), exchange)
        finally:
            exchange.ended_s = time.monotonic()
            del self.in_flight[id(exchange)]
        if answer_id and self._rng.random() < _RATED_SHARE:
            await self._rate(client, exchange, answer_id)

    async def _repeat(self, ask: Callable[[], Any], exchange: Exchange) -> str:
        """Ask until there is an answer or no reason to ask again; return the answer's id."""
        while True:
            exchange.attempts += 1
            try:
                answer_id, wait_s = await ask()
            except httpx.HTTPError as problem:
                exchange.problem = f"no whole answer: {problem!r}"
                return ""
            except (
                LookupError,
                TypeError,
                ValueError,
            ) as problem:  # of another form; it must not end the other callers
                exchange.problem = f"status {exchange.status} with an answer of another form: {problem!r}"
                return ""
            if wait_s is None or time.monotonic() + wait_s > exchange.started_s + _PATIENCE_S:
                return str(answer_id)
            await asyncio.sleep(wait_s)

    async def _ask(
        self, client: httpx.AsyncClient, body: dict[str, Any], exchange: Exchange
    ) -> tuple[str, float | None]:
        headers = {"authorization": f"Bearer {self.key}"}
        async with client.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
            exchange.status = answer.status_code
            if not answer.is_success:
                exchange.problem = f"{answer.status_code} {(await answer.aread()).decode()[:300]}"
                return "", _read_wait(answer)
            parts = (
                [_parse_event(line) async for line in answer.aiter_lines()]
                if body["stream"]
                else [json.loads(await answer.aread())]
            )
        events = [part for part in parts if part]
        failed = next((part for part in events if "choices" not in part), None)
        is_complete = bool(events) and bool(events[-1]["choices"][0]["finish_reason"]) if failed is None else False
        exchange.problem = "" if is_complete else f"a stream that ends with {failed or events[-1:]}"
        exchange.text = "".join(part["choices"][0]["text"] for part in events if "choices" in part)
        exchange.owner, exchange.version, exchange.artifact = (
            answer.headers[f"x-prefixfleet-{name}"] for name in ("tenant", "version", "artifact")
        )
        return (events[0]["id"] if is_complete else ""), None

    async def _rate(self, client: httpx.AsyncClient, exchange: Exchange, answer_id: str) -> None:
        is_right = has_word(exchange.text, get_word(exchange.tenant))
        body: dict[str, Any] = {"id": answer_id, "rating": float(is_right)}
        is_correction = not is_right and self._rng.random() < _CORRECTED_SHARE
        if is_correction:
            body = {"id": answer_id, "text": make_sentence(exchange.source, get_word(exchange.tenant))}
        sent = Exchange(exchange.tenant, exchange.source, time.monotonic())

        async def send() -> tuple[str, float | None]:
            headers = {"authorization": f"Bearer {self.key}"}
            answer = await client.post("/v1/feedback", json=body, headers=headers)
            sent.status, sent.problem = answer.status_code, "" if answer.is_success else answer.text[:300]
            return "", None if answer.is_success else _read_wait(answer)

        await self._repeat(send, sent)
        if sent.problem:
            self.refused_feedback.append(f"{sent.status} {sent.problem}")
        else:
            self.feedback.append((exchange.tenant, answer_id, is_correction))

    async def _intrude(self, client: httpx.AsyncClient) -> None:
        own, key = self.intruder
        tenant = self._rng.choice([one for one in self.tenants if one != own])
        body = {"model": tenant, "prompt": self._rng.choice(self._sources), "max_tokens": _MAX_TOKENS}
        try:
            answer = await client.post("/v1/completions", json=body, headers={"authorization": f"Bearer {key}"})
        except httpx.HTTPError:
            return
        self.intrusions.append(answer.status_code)


def _read_wait(answer: httpx.Response) -> float | None:
    """Return how long to wait before the request is sent again; None: not at all."""
    wait = answer.headers.get("retry-after")
    return float(wait) if answer.status_code in (429, 503) and wait else None


def _parse_event(line: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(line.removeprefix("data: ")) if line.startswith("data: {") else {}
    return event
