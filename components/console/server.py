"""The console's own process: checks the address, binds it, serves until a signal. Knows uvicorn; knows no page."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from uvicorn.config import LOGGING_CONFIG

from components.access.addresses import listen, require_keys_beyond_loopback
from components.access.api_keys import ApiKeys
from components.access.tls import check_tls
from components.config import Params
from components.config.console import ConsoleConfig
from components.config.console_file import ConsoleSettings, read_console_settings
from components.config.problems import to_config_error
from components.console.app import build_console
from components.console.sources import load_params_or_none, open_sources
from components.logs import wants_json

MOUNT = "/console"
_SHUTDOWN_SECONDS = 2


def mount_console(app: FastAPI, console: FastAPI) -> None:
    """Add the console to an application at `MOUNT`; the address without its last slash leads there too."""
    app.mount(MOUNT, console)
    target = f"{MOUNT.removeprefix('/')}/"  # relative: neither the client's Host nor a proxy's path matters
    app.add_api_route(MOUNT, lambda: RedirectResponse(target), include_in_schema=False)


def serve_console(root: Path, overrides: Mapping[str, Any], file: Path | None = None) -> None:
    """Serve until a signal stops the process; `overrides` are values of the section `console`.

    `file` has the sections `console` and `oidc`; None: those of the workspace.

    Raises:
        ConfigError: an invalid value or file, an address other than loopback without API keys, or unusable TLS files.
        RegistryError: MLflow's address cannot be used.
        WorkspaceError: no workspace and no MLflow to read instead, or the database does not answer.
    """
    params = load_params_or_none(root)
    settings = _read_settings(params, file)
    config = _override_config(settings.console, overrides)
    check_tls(config)
    sources = open_sources(root.resolve(), config, params)
    try:
        has_keys = settings.oidc is not None or ApiKeys(sources.database, time.time).has_any()
        require_keys_beyond_loopback(config.host, has_keys=has_keys)
        app = FastAPI(openapi_url=None)
        mount_console(app, build_console(sources, config, settings.oidc))
        app.add_api_route("/", lambda: RedirectResponse(f"{MOUNT}/"), include_in_schema=False)
        with listen(config) as (listener, address):
            logging.getLogger("prefixfleet").info("the console is at %s%s/", address, MOUNT)
            server = uvicorn.Server(
                uvicorn.Config(
                    app,
                    ws="none",
                    ssl_certfile=config.tls_certificate,
                    ssl_keyfile=config.tls_key,
                    access_log=False,
                    log_config=None if wants_json() else LOGGING_CONFIG,
                    log_level="warning",
                    server_header=False,
                    timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
                )
            )
            server.run(sockets=[listener])
    finally:
        sources.database.close()


def _read_settings(params: Params | None, file: Path | None) -> ConsoleSettings:
    if file is not None:
        return read_console_settings(file)
    return ConsoleSettings(console=params.console, oidc=params.oidc) if params else ConsoleSettings()


def _override_config(config: ConsoleConfig, overrides: Mapping[str, Any]) -> ConsoleConfig:
    try:
        return ConsoleConfig(**{**config.model_dump(), **overrides})
    except ValidationError as problems:
        raise to_config_error(problems, ConsoleConfig, "the command line") from None
