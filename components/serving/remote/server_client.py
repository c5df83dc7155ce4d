"""One vLLM server with PrefixFleet's plugin: its answers as a stream of events, its orders, its health.

Knows HTTP and the plugin's orders; does not know rows or texts.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx

from components.errors import PrefixFleetError
from components.otel.spans import start_child
from components.serving.errors import LOGGER_NAME, RefusalError
from components.serving.remote.orders import check_loaded, make_order, read_refusal, read_reply
from components.serving.remote.reply_events import ReplyEvent, parse_event
from components.serving.remote.request_body import StoredArtifact
from components.serving.remote.server_errors import ENGINE_FAULT, ServerDownError

_COMPLETIONS = "/v1/completions"
_CONNECT_S, _HEALTH_S, _ORDER_S = 5.0, 5.0, 120.0
_MAX_SILENCES = 3
"""Health checks in a row without an answer, after which the answers that it has begun are given up."""
_END = "[DONE]"


class ServerClient:
    """Calls one server; `stream_reply` from one event loop, all else from any thread."""

    def __init__(
        self, url: str, base_digest: str, *, health_seconds: float = _HEALTH_S, pending_drops: Iterable[str] = ()
    ) -> None:
        """Open no connection yet. A server that takes no artifacts of the base with this digest counts as down.

        `health_seconds`: how long it may take to answer a health check. `pending_drops`: the sha256 of artifacts that
        it is told to drop when it answers first.
        """
        self.url, self._base_digest, self._health_seconds = url, base_digest, health_seconds
        self.in_flight = 0
        """Rows that it answers now."""
        self.down_reason = "it was not asked yet"
        """Why it does not answer; "": it answers."""
        self.max_lora_rank = 0
        """The largest rank of a LoRA artifact that it takes, as it said last; 0: it has no LoRA."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        timeout = httpx.Timeout(None, connect=_CONNECT_S)
        self._streams = httpx.AsyncClient(base_url=url, timeout=timeout, limits=limits, trust_env=False)
        self._orders = httpx.Client(base_url=url, timeout=_ORDER_S, trust_env=False)
        self._pending_drops = set(pending_drops)
        self._lock = threading.Lock()
        self._silences = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open_streams: set[asyncio.Timeout] = set()

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was last asked."""
        return not self.down_reason

    async def stream_reply(self, body: Mapping[str, Any], top_count: int = 0) -> AsyncGenerator[ReplyEvent]:
        """Yield the events of one answer; leaving early ends it in the engine too.

        Raises:
            ServerDownError: it does not answer, the connection breaks, or it reports an error because it is ending.
            PrefixFleetError: it refuses the request, or reports another error.
        """
        self.in_flight += 1
        self._loop = asyncio.get_running_loop()
        until_silent = asyncio.timeout(None)
        span = start_child("ask vLLM", kind="client", server=urlsplit(self.url).netloc.rpartition("@")[2])
        try:
            async with until_silent:
                self._open_streams.add(until_silent)
                async with self._streams.stream("POST", _COMPLETIONS, json=body, headers=span.headers) as response:
                    span.set(status=response.status_code)
                    if response.status_code != httpx.codes.OK:
                        raise read_refusal(response.status_code, await response.aread())
                    async for line in response.aiter_lines():
                        if line.startswith("data:") and (data := line[5:].strip()) != _END:
                            yield parse_event(data, top_count)
        except PrefixFleetError as problem:
            span.fail(problem)
            if isinstance(problem, RefusalError) and problem.code == ENGINE_FAULT and not await self._is_healthy():
                self.down_reason = f"an error of the engine at {self.url}"  # until its next health check
                raise ServerDownError(self.down_reason) from problem
            raise
        except TimeoutError as problem:
            span.fail(problem)
            raise ServerDownError(f"no answer to health checks at {self.url}") from problem
        except httpx.HTTPError as problem:
            span.fail(problem)
            self.down_reason = _describe(self.url, problem)  # until its next health check
            raise ServerDownError(self.down_reason) from problem
        finally:
            self._open_streams.discard(until_silent)
            self.in_flight -= 1
            span.end()

    def check_health(self) -> None:
        """Ask whether it answers, and note it; repeat what it could not be told before.

        An answer that it has begun ends with ServerDownError when it is silent for several checks in a row.
        """
        try:
            response = self._orders.get("/health", timeout=self._health_seconds)
        except httpx.HTTPError as problem:
            self.down_reason = _describe(self.url, problem)
            self._silences += 1
            if self._silences >= _MAX_SILENCES and self._loop is not None:
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._end_streams)
            return
        self._silences = 0
        if response.status_code != httpx.codes.OK:
            self.down_reason = f"status {response.status_code} of {self.url}/health"
            return
        if not self.is_up and (reason := self._find_mismatch()):
            self.down_reason = reason
            return
        self.down_reason = ""
        with self._lock:
            pending = set(self._pending_drops)
        if pending:
            self.drop(pending)

    def drop(self, sha256s: Iterable[str]) -> None:
        """Remove artifacts from its memory and its cached blocks; if it does not answer, when it answers again."""
        names = set(sha256s)
        with self._lock:
            self._pending_drops |= names
        try:
            self._send_order({"drop": sorted(names)})
        except PrefixFleetError:
            return
        with self._lock:
            self._pending_drops -= names

    def load(self, stored: StoredArtifact) -> None:
        """Load an artifact before a request needs it, or find out why it cannot be loaded.

        Raises:
            ServerDownError: the server does not answer.
            ArtifactError, BaseModelError, RegistryError, BusyError: the artifact cannot be loaded.
        """
        check_loaded(self._send_order({"load": stored.describe()}))

    async def find_load_error(self, stored: StoredArtifact) -> PrefixFleetError | None:
        """Return why an artifact of which an answer has failed cannot be loaded; None: it can, or nobody knows."""
        try:
            order = make_order({"load": stored.describe()})
            response = await self._streams.post(_COMPLETIONS, json=order, timeout=_ORDER_S)
            reply = read_reply(self.url, response)
        except (httpx.HTTPError, PrefixFleetError):
            return None
        try:
            check_loaded(reply)
        except PrefixFleetError as problem:
            return problem
        return None

    def read_status(self) -> Mapping[str, Any]:
        """Return what the plugin holds: `artifacts`, `errors`, `used_bytes`. Raises PrefixFleetError."""
        return self._send_order({"status": []})

    async def close(self) -> None:
        """Close the connections."""
        await self._streams.aclose()
        self._orders.close()

    def close_from_thread(self) -> None:
        """Close the connections from another thread than that of the streams, and wait for it."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._streams.aclose(), self._loop).result(_CONNECT_S)
        self._orders.close()

    async def _is_healthy(self) -> bool:
        try:
            response = await self._streams.get("/health", timeout=self._health_seconds)
        except httpx.HTTPError:
            return False
        return response.status_code == httpx.codes.OK

    def _end_streams(self) -> None:
        for stream in self._open_streams:
            stream.reschedule(0)
        self._open_streams.clear()

    def _find_mismatch(self) -> str:
        """Return why a server that has come up cannot answer for this base; "": it can.

        Note what it says of LoRA, and log its warning.
        """
        try:
            status = self.read_status()
        except PrefixFleetError as problem:
            return str(problem)
        rank, digests = status.get("max_lora_rank"), status.get("base_digests") or ()
        self.max_lora_rank = rank if isinstance(rank, int) else 0
        if warning := status.get("warning"):
            logging.getLogger(LOGGER_NAME).warning("engine %s: %s", self.url, warning)
        if self._base_digest in digests:
            return ""
        names = ", ".join(str(digest)[:12] for digest in digests) or "none"
        return f"{self.url} takes artifacts of the bases {names}, and this server has {self._base_digest[:12]}"

    def _send_order(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            response = self._orders.post(_COMPLETIONS, json=make_order(order))
        except httpx.HTTPError as problem:
            raise ServerDownError(_describe(self.url, problem)) from problem
        return read_reply(self.url, response)


def _describe(url: str, problem: Exception) -> str:
    return f"{type(problem).__name__} at {url}"
