"""The process that serves: safe to start, ready when the base is loaded, and patient when it is told to end.

Binds to loopback unless there are keys. On SIGTERM or Ctrl-C requests in flight finish and new ones are refused with
503; a second signal ends it at once. Knows uvicorn and the engine; does not know what is answered.
"""

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import prometheus_client
import uvicorn
from pydantic import ValidationError

from components.config import Params
from components.config.problems import to_config_error
from components.config.serve import ServeConfig
from components.errors import ConfigError
from components.serving.errors import LOGGER_NAME
from components.serving.http.api_keys import ApiKeys
from components.serving.http.app import build_app
from components.serving.http.service import Service
from components.serving.http.tls import check_tls
from components.stages.workspace import Workspace

_SHUTDOWN_SECONDS = 5
_BACKLOG = 2048
_BIND_FIXES = {
    errno.EADDRINUSE: "end what uses it, or choose another (--port)",
    errno.EACCES: "choose a port from 1024 on (--port), or let the process bind to this one",
}


def serve(workspace: Workspace, overrides: Mapping[str, Any]) -> None:
    """Serve until told to end; `overrides` are values of the `serve` section that the command line gives.

    Raises:
        ConfigError: an impossible value, an address other than loopback without keys, or TLS files that do not fit.
        BaseModelError: the base cannot be loaded.
        WorkspaceError: the database of keys cannot be opened.
    """
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    params = _override_params(workspace.params, overrides)
    config = params.serve
    database = workspace.database
    try:
        has_keys = ApiKeys(database, time.time).has_any()
        _check_address(config.host, has_keys=has_keys)
        check_tls(config)
        service = Service(workspace, params, database, allows_anonymous=not has_keys)
        with _listen(config) as (door, address):
            server = _DrainingServer(service, config, lambda: _load_engine(service, workspace, address))
            server.run(sockets=[door])
    finally:
        database.close()
    if server.load_error is not None:
        raise server.load_error


class _DrainingServer(uvicorn.Server):
    """Uvicorn, which waits for the requests in flight before it closes its door."""

    def __init__(self, service: Service, config: ServeConfig, load: Callable[[], Awaitable[None]]) -> None:
        self.load_error: Exception | None = None
        self._service, self._drain_seconds, self._load = service, config.drain_seconds, load
        self._drain_deadline_s: float | None = None
        super().__init__(
            uvicorn.Config(
                build_app(service, self._try_to_load),
                ssl_certfile=config.tls_certificate,
                ssl_keyfile=config.tls_key,
                access_log=False,
                log_config=_LOG_CONFIG,
                server_header=False,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal; end at once at the second."""
        if self._service.draining:
            super().handle_exit(sig, frame)
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: end where nothing is in flight any more, or where it has lasted too long."""
        if self._service.draining:
            now_s = time.monotonic()
            if self._drain_deadline_s is None:
                self._drain_deadline_s = now_s + self._drain_seconds
                logging.getLogger(LOGGER_NAME).info("ending: requests in flight: %d", self._service.in_flight)
            self.should_exit |= not self._service.in_flight or now_s > self._drain_deadline_s
        return await super().on_tick(counter)

    async def _try_to_load(self) -> None:
        try:
            await self._load()
        except Exception as problem:  # noqa: BLE001 - raised again where the server was started
            self.load_error = problem
            self._service.draining = True


@contextmanager
def _listen(config: ServeConfig) -> Iterator[tuple[socket.socket, str]]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        door = socket.create_server((config.host, config.port), family=family, backlog=_BACKLOG)
    except OSError as problem:
        number = problem.errno or 0
        why = problem.strerror if isinstance(problem, socket.gaierror) else os.strerror(number)
        fix = _BIND_FIXES.get(number, "give an address of this machine (--host)")
        raise ConfigError("an address to serve on", f"{config.host}, port {config.port}: {why}", fix) from None
    with door:
        scheme = "https" if config.tls_certificate else "http"
        yield door, f"{scheme}://{config.host}:{door.getsockname()[1]}"


async def _load_engine(service: Service, workspace: Workspace, address: str) -> None:
    from components.serving.engine_setup import load_engine, preload_artifact
    from components.serving.fleet.artifact_cleanup import ArtifactCleanup

    logging.getLogger(LOGGER_NAME).info("serving on %s, the API is at /docs; the base is being loaded", address)
    started_s = time.monotonic()
    engine = await asyncio.to_thread(load_engine, workspace, service.params.serve)
    service.base_digest = workspace.base.digest
    service.engine = engine
    service.fleet.preload = partial(preload_artifact, engine)
    service.artifact_cleanup = ArtifactCleanup(engine.artifact_cache, workspace.registry.find_sha256s)
    service.fleet.on_read = service.artifact_cleanup.notify
    seconds = time.monotonic() - started_s
    logging.getLogger(LOGGER_NAME).info("base %s is loaded (%.1f s): ready", workspace.base.name, seconds)


def _override_params(params: Params, changed: Mapping[str, Any]) -> Params:
    try:
        return params.model_copy(update={"serve": ServeConfig(**{**params.serve.model_dump(), **changed})})
    except ValidationError as problems:
        raise to_config_error(problems, ServeConfig, "the command line") from None


def _check_address(host: str, *, has_keys: bool) -> None:
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local and not has_keys:
        fix = "make keys first (`prefixfleet keys create TENANT`), or serve on 127.0.0.1"
        raise ConfigError(f"API keys, to serve on {host}", "none", fix)


_LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": level, "propagate": False}
        for name, level in (("uvicorn", "WARNING"), (LOGGER_NAME, "INFO"))
    },
}
