"""A console on a real port, in a thread of this process."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from waiting import wait_until

from components.access.api_keys import ApiKeys
from components.config.console import ConsoleConfig
from components.config.oidc import OidcConfig
from components.console.app import build_console
from components.console.sources import Sources, load_params_or_none, open_sources


@dataclass(frozen=True)
class ServedConsole:
    """A running console."""

    url: str
    """Of its start page, without a slash at the end."""
    sources: Sources
    keys: ApiKeys


@contextmanager
def serve_console_in_thread(root: Path, oidc: OidcConfig | None = None, **settings: object) -> Iterator[ServedConsole]:
    """Serve the console of a workspace until the end of the block; `settings` are values of the section `console`."""
    import time

    config = ConsoleConfig(**settings)
    sources = open_sources(root, config, load_params_or_none(root))
    app = FastAPI()
    app.mount("/console", build_console(sources, config, oidc))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            wait_until(lambda: server.started, "the console")
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/console"
            yield ServedConsole(url, sources, ApiKeys(sources.database, time.time))
        finally:
            server.should_exit = True
            thread.join()
            sources.database.close()
