"""Logins on the console `served`, which a module of tests that changes something has as a fixture of its own."""

from collections.abc import Callable
from typing import Any

import pytest
from browser import follow
from served_console import ServedConsole


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
