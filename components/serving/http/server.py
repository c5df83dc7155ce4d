"""The server process: validate the listen address, bind it, serve requests, and shut down gracefully on a signal.

Without API keys it listens only on loopback addresses. On SIGTERM or Ctrl-C, requests in flight finish and new ones
get 503; a second signal stops the process at once. Knows uvicorn and the service; does not know the routes.
"""

import asyncio
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import prometheus_client
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from components.access.addresses import listen, require_keys_beyond_loopback
from components.access.api_keys import ApiKeys
from components.access.tls import check_tls
from components.config import Params
from components.config.problems import to_config_error
from components.config.serve import ServeConfig
from components.logs import JsonFormatter, wants_json
from components.otel.spans import begin_telemetry
from components.serving.errors import LOGGER_NAME
from components.serving.garbage import freeze_survivors
from components.serving.http.acceptor import Acceptor
from components.serving.http.answer_pace import AnswerPace
from components.serving.http.app import build_app
from components.serving.http.build import build_service
from components.serving.http.connection_table import ConnectionTable, limit_by_open_files
from components.serving.http.log_limit import LogLimit
from components.serving.http.opening_pace import OpeningPace
from components.serving.http.protocol import DeadlineProtocol
from components.serving.http.service import Service
from components.serving.interface import Engine
from components.serving.load_engine import load_engine
from components.stages.workspace import Workspace
from components.storage.database import Database

_SHUTDOWN_SECONDS, _LAST_SECONDS = 5, 5
"""For answers after `serve.drain_seconds`, and for what comes after them: the last counts, the engine, threads."""
_INVALID_PER_SECOND, _INVALID_MAX_SECONDS = 5.0, 5.0
"""Pace of the refusals of what is not HTTP, to one address: the parser may need 20 ms of the event loop for each."""
_SWITCH_SECONDS = 0.0001
"""How long the event loop may keep the interpreter while the model thread waits for it: with Python's 5 ms, each of the
hundreds of operations of a step waits so long if connections keep the event loop busy."""
_TICKS_PER_DEADLINE_CHECK = 5
"""Uvicorn's ticks, ten of them a second."""

Mount = Callable[[FastAPI, Service], None]
"""Adds pages to the server's application."""


def serve(workspace: Workspace, overrides: Mapping[str, Any], mount: Mount | None = None) -> None:
    """Serve until a signal stops the process; `overrides` are values of the `serve` section from the command line.

    `mount` adds what is served beside the API.

    Raises:
        ConfigError: an invalid value, an address other than loopback without API keys, or TLS files that do not match.
        BaseModelError: the base cannot be loaded.
        WorkspaceError: the database does not answer.
    """
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    sys.setswitchinterval(_SWITCH_SECONDS)
    params = _override_params(workspace.params, overrides)
    config = params.serve
    begin_telemetry("prefixfleet-server")
    database = workspace.database
    try:
        is_closed = needs_credentials(params, database)
        require_keys_beyond_loopback(config.host, has_keys=is_closed)
        check_tls(config)
        service = build_service(
            workspace,
            params,
            database,
            allows_anonymous=not is_closed,
            load=lambda: _load_engine(workspace, config),
        )
        with listen(config) as (listener, address):
            app = build_app(service)
            if mount is not None:
                mount(app, service)
            DrainingServer(service, config, address, app).run(sockets=[listener])
    finally:
        database.close()
    if service.load_error is not None:
        raise service.load_error


def needs_credentials(params: Params, database: Database) -> bool:
    """Return whether every request needs a key or a token. Raises WorkspaceError."""
    return params.oidc is not None or ApiKeys(database, time.time).has_any()


def _load_engine(workspace: Workspace, config: ServeConfig) -> Engine:
    engine = load_engine(workspace, config)
    freeze_survivors()
    return engine


class DrainingServer(uvicorn.Server):
    """Uvicorn that accepts within limits, and waits for the requests in flight before it closes its socket."""

    def __init__(self, service: Service, config: ServeConfig, address: str, app: FastAPI | None = None) -> None:
        """`app` is the application of the service; None: that of the API alone."""
        self._service, self._drain_seconds, self._address = service, config.drain_seconds, address
        self._drain_deadline_s: float | None = None
        self._limits = config
        connections = limit_by_open_files(config.max_connections)
        per_address = max(1, config.max_connections_per_address * connections // config.max_connections)
        self._connections = ConnectionTable(connections, per_address)
        self._opening_pace = OpeningPace(time.monotonic)
        self._invalid_http_pace = AnswerPace(
            time.monotonic, per_second=_INVALID_PER_SECOND, max_seconds=_INVALID_MAX_SECONDS
        )
        self._accepting: list[asyncio.Task[None]] = []
        super().__init__(
            uvicorn.Config(
                app or build_app(service),
                ws="none",
                ssl_certfile=config.tls_certificate,
                ssl_keyfile=config.tls_key,
                access_log=False,
                log_config=_make_log_config(),
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
                timeout_keep_alive=math.ceil(config.idle_seconds),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve on the sockets and log the address."""
        message = "serving on %s, the API is at /docs; the base is being loaded"
        logging.getLogger(LOGGER_NAME).info(message, self._address)
        if self._connections.max_connections < self._limits.max_connections:
            message = "at most %d connections, half of the process's limit of open files (ulimit -n)"
            logging.getLogger(LOGGER_NAME).warning(message, self._connections.max_connections)
        await super().startup([])
        acceptor = Acceptor(self._connections, self._limits, self._opening_pace, self._make_protocol)
        self._accepting = [asyncio.create_task(acceptor.run_forever(one, self.config.ssl)) for one in sockets or ()]

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections whose clients have sent no whole request, then the others once they are answered."""
        for accepting in self._accepting:
            accepting.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for connection in self._connections:
            if connection.waiting_since_s is not None:
                connection.abort()
        await super().shutdown(sockets)

    def _make_protocol(self, address: str) -> DeadlineProtocol:
        return DeadlineProtocol(
            self.config,
            self.server_state,
            self.lifespan.state,
            limits=self._limits,
            table=self._connections,
            opening_pace=self._opening_pace,
            invalid_http_pace=self._invalid_http_pace,
            address=address,
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to drain at the first signal; stop at once at the second."""
        if self._service.draining:
            super().handle_exit(sig, frame)
        else:
            _end_process_after(self._drain_seconds + _SHUTDOWN_SECONDS + _LAST_SECONDS)
        self._service.start_draining()

    async def on_tick(self, counter: int) -> bool:
        """Stop once no request is in flight, or after `drain_seconds`. Uvicorn calls it ten times a second."""
        if self._service.draining:
            now_s = time.monotonic()
            if self._drain_deadline_s is None:
                self._drain_deadline_s = now_s + self._drain_seconds
                logging.getLogger(LOGGER_NAME).info("stopping; requests in flight: %d", self._service.in_flight)
            self.should_exit |= not self._service.in_flight or now_s > self._drain_deadline_s
        if counter % _TICKS_PER_DEADLINE_CHECK == 0:
            now_s = time.monotonic()
            for connection in self._connections:
                connection.enforce_deadlines(now_s)
        return await super().on_tick(counter)


def _end_process_after(seconds: float) -> None:
    """End the process then, whatever hangs: a thread that waits for a store would keep it from its end."""

    def end() -> None:
        logging.getLogger(LOGGER_NAME).error(
            "the shutdown took more than %.0f s: ended without its last steps", seconds
        )
        os._exit(1)

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()


def _override_params(params: Params, overrides: Mapping[str, Any]) -> Params:
    try:
        return params.model_copy(update={"serve": ServeConfig(**{**params.serve.model_dump(), **overrides})})
    except ValidationError as problems:
        raise to_config_error(problems, ServeConfig, "the command line") from None


def _make_log_config() -> dict[str, Any]:
    formatter = {"()": JsonFormatter} if wants_json() else {"format": "%(asctime)s %(levelname)s %(message)s"}
    stderr = {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "filters": {"limit": {"()": LogLimit, "clock": time.monotonic}},
        "handlers": {"stderr": stderr, "limited": {**stderr, "filters": ["limit"]}},
        "loggers": {
            name: {"handlers": [handler], "level": level, "propagate": False}
            for name, level, handler in (
                ("uvicorn", "WARNING", "limited"),
                ("asyncio", "WARNING", "limited"),
                (f"{LOGGER_NAME}.connections", "WARNING", "limited"),
                (f"{LOGGER_NAME}.services", "ERROR", "limited"),
                (LOGGER_NAME, "INFO", "stderr"),
            )
        },
    }
