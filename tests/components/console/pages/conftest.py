"""Logins on the console `served`, which a module of tests that changes something has as a fixture of its own.

And for logins at a provider: the provider, and browsers at a console without a workspace that sends people there.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import follow
from fastapi import FastAPI
from fastapi.testclient import TestClient
from oidc_provider import SECRET, Provider, run_provider
from served_console import ServedConsole
from sign_on import Timer, make_config

from components.access.oidc.login import SECRET_VARIABLE
from components.config.console import ConsoleConfig
from components.console.app import build_console
from components.console.sources import Sources, open_sources


@pytest.fixture(scope="module")
def admin_key(served: ServedConsole) -> str:
    """The key of the admin ada."""
    return served.keys.create(None, "ada")[1]


@pytest.fixture
def log_in(served: ServedConsole, open_page: Callable[..., Any], admin_key: str) -> Callable[..., Any]:
    """A function to a page after a login: `log_in(path, key=admin_key, width=1280, dark=False)`."""

    def log(path: str, key: str = admin_key, **look: Any) -> Any:
        page = open_page(f"{served.url}{path}", **look)
        page.fill("#key", key)
        follow(page, "main button")
        return page

    return log


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder without a workspace: the console reads an empty MLflow and an empty database in it."""
    folder = tmp_path_factory.mktemp("sign-on")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("PREFIXFLEET_DATABASE", f"sqlite:///{folder}/prefixfleet.db")
        yield folder


@pytest.fixture(scope="module")
def sources(root: Path) -> Iterator[Sources]:
    opened = open_sources(root, ConsoleConfig(), None)
    yield opened
    opened.database.close()


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with run_provider() as running:
        yield running


@pytest.fixture
def provider(running_provider: Provider) -> Provider:
    """The provider, right in all it says, with an admin at its login."""
    fresh = Provider(running_provider.url)
    running_provider.__dict__.update({**fresh.__dict__, "keys": running_provider.keys})
    return running_provider


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def open_console(
    sources: Sources, provider: Provider, timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TestClient]:
    """A function of settings to a browser at a new console; `oidc` are values of that section."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)

    def make(oidc: Any = None, **settings: Any) -> TestClient:
        app = FastAPI()
        config = make_config(provider, **(oidc or {}))
        app.mount("/console", build_console(sources, ConsoleConfig(**settings), config, timer=timer))
        return TestClient(app, base_url="http://fleet.example", follow_redirects=False)

    return make
