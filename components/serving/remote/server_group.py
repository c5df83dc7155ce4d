"""Several engines of one base: which one answers, which of them are up, and a second try elsewhere.

A request of which no token has come yet is asked again of another engine when its own stops answering, or cannot read
the artifact's store. Knows engines; does not know rows or texts.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any

from cachetools import LRUCache

from components.errors import PrefixFleetError, RegistryError
from components.serving.device_time import DeviceTime, add_seconds
from components.serving.errors import LOGGER_NAME, RefusalError
from components.serving.interface import EngineServer
from components.serving.remote.addresses import EngineAddresses
from components.serving.remote.reply_events import ReplyEvent
from components.serving.remote.request_body import StoredArtifact
from components.serving.remote.routing import rank_engines
from components.serving.remote.server_client import ServerClient
from components.serving.remote.server_errors import ENGINE_FAULT, ServerDownError

_CHECK_SECONDS = 1.0
_ADDRESS_SECONDS = 5.0
_POLL_SECONDS = 0.1
_JOIN_SECONDS = 15.0
"""Longer than a health check; DNS may take longer."""
_MAX_TRIES = 3
"""Engines that are asked for one reply: a request that ends an engine's process must not end all of them."""
_REMEMBERED_DROPS = 100_000


class ServerGroup:
    """Asks engines; `stream_reply` from one event loop, all else from any thread."""

    def __init__(self, addresses: EngineAddresses, make_client: Callable[[str, Iterable[str]], ServerClient]) -> None:
        """Ask nothing yet. `make_client` gets a URL, and the artifacts that the engine there shall drop at first."""
        self._addresses, self._make_client = addresses, make_client
        self._clients: dict[str, ServerClient] = {}
        self._device_times: dict[str, DeviceTime] = {}
        """By the engine's URL."""
        self._removed: set[ServerClient] = set()
        """They finish the answers that they have begun."""
        self._dropped: LRUCache[str, None] = LRUCache(_REMEMBERED_DROPS)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, seconds: float, *, must_go_on: Callable[[], None] = lambda: None) -> None:
        """Wait until an engine answers, and check all of them from then on, every second.

        `must_go_on` is called while waiting, and raises if there is nothing to wait for any more.

        Raises:
            ServerDownError: no engine answers within `seconds`.
        """
        self._update_addresses()
        if self._addresses.may_change:
            self._start_thread(self._follow_addresses, "addresses of engines")
        deadline_s = time.monotonic() + seconds
        while not self.is_up:
            if time.monotonic() >= deadline_s:
                self._ended.set()
                states = self.states
                reasons = "; ".join(one.down_reason for one in states) or "no address was found"
                got = f"none of {len(states)} engines after {seconds:g} s: {reasons}"
                raise ServerDownError(got, "start one with this server's base, or correct serve.engines or base")
            must_go_on()
            self._ended.wait(_POLL_SECONDS)

    @property
    def is_up(self) -> bool:
        """Whether an engine answers."""
        return any(client.is_up for client in self._list_clients())

    @property
    def states(self) -> Sequence[EngineServer]:
        """The state of each engine, by address."""
        clients = sorted(self._list_clients(), key=lambda one: one.url)
        return [EngineServer(one.url, one.down_reason, one.in_flight) for one in clients]

    @property
    def max_lora_rank(self) -> int:
        """The largest rank of a LoRA artifact that an engine takes, also if it is down now; 0: none has LoRA."""
        return max((client.max_lora_rank for client in self._list_clients()), default=0)

    async def stream_reply(
        self, body: Mapping[str, Any], stored: StoredArtifact, top_count: int = 0
    ) -> AsyncGenerator[ReplyEvent]:
        """Yield the events of one answer; requests for the same artifact go to the same engine while it has room.

        The time in which an engine had the row is added to its tenant's device time.

        Raises:
            ServerDownError: no engine answers, or the engine of a begun answer has stopped answering.
            ArtifactError, BaseModelError, RegistryError, BusyError: the artifact cannot be loaded.
            PrefixFleetError: an engine refuses the request, or reports an error.
        """
        last: PrefixFleetError = ServerDownError("no engine that is up")
        for client in self._rank(stored)[:_MAX_TRIES]:
            has_begun = False
            device_time = self._device_times.setdefault(client.url, DeviceTime())
            mark = device_time.begin()
            try:
                async with aclosing(client.stream_reply(body, top_count)) as events:
                    async for event in events:
                        has_begun = has_begun or bool(event.tokens)
                        yield event
            except ServerDownError as problem:
                if has_begun:
                    raise
                last = problem
            except RefusalError as problem:
                if has_begun or problem.code != ENGINE_FAULT:
                    raise
                last = await client.find_load_error(stored) or problem
                if not isinstance(last, RegistryError):
                    raise last from problem
            else:
                return
            finally:
                device_time.end(stored.artifact.tenant, mark)
        raise last

    def take_device_seconds(self) -> Mapping[str, float]:
        """Return tenant -> time of its rows that have ended since the last call, on all engines."""
        return add_seconds(*(one.take() for one in list(self._device_times.values())))

    def load(self, stored: StoredArtifact) -> None:
        """Let the engine that would answer load an artifact, or the next one if it is down or cannot read its store.

        Raises what `ServerClient.load` raises; nothing while no engine is up.
        """
        last: PrefixFleetError | None = None
        for client in self._rank(stored)[:_MAX_TRIES]:
            try:
                client.load(stored)
            except (ServerDownError, RegistryError) as problem:
                last = problem
            else:
                return
        if last is not None:
            raise last

    def drop(self, sha256s: Iterable[str]) -> None:
        """Remove artifacts from all engines; blocks until they have done it. Those that are down do it later."""
        names = sorted(sha256s)
        with self._lock:
            self._dropped.update(dict.fromkeys(names))
        clients = self._list_clients()
        if names and clients:
            with ThreadPoolExecutor(len(clients)) as pool:
                list(pool.map(lambda client: client.drop(names), clients))

    async def close(self) -> None:
        """Stop checking, and close the connections."""
        self._ended.set()
        until_s = time.monotonic() + _JOIN_SECONDS
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < until_s:
            await asyncio.sleep(_POLL_SECONDS)
        for client in (*self._list_clients(), *self._removed):
            await client.close()

    def _list_clients(self) -> list[ServerClient]:
        with self._lock:
            return list(self._clients.values())

    def _rank(self, stored: StoredArtifact) -> list[ServerClient]:
        clients = [one for one in self._list_clients() if one.is_up and one.max_lora_rank >= stored.lora_rank]
        up, key = {client.url: client for client in clients}, stored.artifact.sha256
        return [up[url] for url in rank_engines(key, {url: client.in_flight for url, client in up.items()})]

    def _follow_addresses(self) -> None:
        while not self._ended.wait(_ADDRESS_SECONDS):
            self._update_addresses()

    def _update_addresses(self) -> None:
        """Take the engines that have come, and let go those whose address is gone. Without DNS all stay."""
        log = logging.getLogger(LOGGER_NAME)
        try:
            urls = self._addresses.find()
        except OSError as problem:
            log.warning("DNS has no addresses of engines: %s", problem)
            return
        with self._lock:
            new, gone = [url for url in urls if url not in self._clients], self._clients.keys() - set(urls)
            for url in sorted(gone):
                log.warning("engine %s: its address is gone from DNS", url)
                self._removed.add(self._clients.pop(url))
            self._clients |= {url: self._make_client(url, list(self._dropped)) for url in new}
            clients = [self._clients[url] for url in new]
        for client in clients:
            self._start_thread(partial(self._check_health, client), f"health of {client.url}")

    def _start_thread(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, daemon=True, name=name)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _check_health(self, client: ServerClient) -> None:
        """Check an engine until its address is gone and it has finished its answers, or until the end of the group."""
        was_up = False
        while client not in self._removed or client.in_flight:
            client.check_health()
            if was_up != client.is_up:
                was_up = client.is_up
                words = "answers" if client.is_up else f"does not answer: {client.down_reason}"
                logging.getLogger(LOGGER_NAME).warning("engine %s %s", client.url, words)
            if self._ended.wait(_CHECK_SECONDS):
                return
        client.close_from_thread()
        self._removed.discard(client)
