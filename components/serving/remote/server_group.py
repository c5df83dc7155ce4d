"""Several engines of one base: which one answers, which of them are up, and a second try elsewhere.

A request of which no token has come yet is asked again of another engine when its own stops answering. Knows engines;
does not know rows or texts.
"""

import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

from components.serving.errors import LOGGER_NAME
from components.serving.remote.reply_events import ReplyEvent
from components.serving.remote.request_body import StoredArtifact
from components.serving.remote.routing import rank_engines
from components.serving.remote.server_client import ServerClient
from components.serving.remote.server_errors import ServerDownError

_CHECK_SECONDS = 1.0
_POLL_SECONDS = 0.1


class ServerGroup:
    """Asks engines; `stream_reply` from one event loop, all else from any thread."""

    def __init__(self, clients: Sequence[ServerClient]) -> None:
        """Ask nothing yet."""
        self._clients = {client.url: client for client in clients}
        self._ended = threading.Event()
        self._checkers = [
            threading.Thread(target=self._check_forever, args=[client], daemon=True, name=f"health of {client.url}")
            for client in clients
        ]

    def start(self, seconds: float, *, must_go_on: Callable[[], None] = lambda: None) -> None:
        """Wait until an engine answers, and check all of them from then on, every second.

        `must_go_on` is called while waiting, and raises if there is nothing to wait for any more.

        Raises:
            ServerDownError: no engine answers within `seconds`.
        """
        for checker in self._checkers:
            checker.start()
        deadline_s = time.monotonic() + seconds
        while not self.is_up:
            if time.monotonic() >= deadline_s:
                self._ended.set()
                reasons = "; ".join(client.down_reason for client in self._clients.values())
                raise ServerDownError(f"none of {len(self._clients)} engines after {seconds:g} s: {reasons}")
            must_go_on()
            self._ended.wait(_POLL_SECONDS)

    @property
    def is_up(self) -> bool:
        """Whether an engine answers."""
        return any(client.is_up for client in self._clients.values())

    @property
    def in_flight(self) -> int:
        """Rows that all engines answer now."""
        return sum(client.in_flight for client in self._clients.values())

    async def stream_reply(self, body: Mapping[str, Any], key: str, top_count: int = 0) -> AsyncGenerator[ReplyEvent]:
        """Yield the events of one answer; requests with the same `key` go to the same engine while it has room.

        Raises:
            ServerDownError: no engine answers, or the engine of a begun answer has stopped answering.
            PrefixFleetError: an engine refuses the request, or reports an error.
        """
        last = ServerDownError("no engine that is up")
        for client in self._rank(key):
            has_begun = False
            try:
                async with aclosing(client.stream_reply(body, top_count)) as events:
                    async for event in events:
                        has_begun = has_begun or bool(event.tokens)
                        yield event
            except ServerDownError as problem:
                if has_begun:
                    raise
                last = problem
            else:
                return
        raise last

    def load(self, stored: StoredArtifact) -> None:
        """Let the engine that would answer load an artifact. Raises what `ServerClient.load` raises."""
        for client in self._rank(stored.artifact.sha256)[:1]:
            client.load(stored)

    def drop(self, sha256s: Iterable[str]) -> None:
        """Remove artifacts from all engines; blocks until they have done it. Those that are down do it later."""
        names = sorted(sha256s)
        if names:
            with ThreadPoolExecutor(len(self._clients)) as pool:
                list(pool.map(lambda client: client.drop(names), self._clients.values()))

    async def close(self) -> None:
        """Stop checking, and close the connections."""
        self._ended.set()
        for client in self._clients.values():
            await client.close()

    def _rank(self, key: str) -> list[ServerClient]:
        up = {url: client.in_flight for url, client in self._clients.items() if client.is_up}
        return [self._clients[url] for url in rank_engines(key, up)]

    def _check_forever(self, client: ServerClient) -> None:
        while not self._ended.is_set():
            before = client.is_up
            client.check_health()
            if before != client.is_up:
                words = "answers" if client.is_up else f"does not answer: {client.down_reason}"
                logging.getLogger(LOGGER_NAME).warning("engine %s %s", client.url, words)
            self._ended.wait(_CHECK_SECONDS)
