"""Pages in a real browser, for tests."""

from typing import Any


def follow(page: Any, selector: str) -> None:
    """Click what leads to another page, and wait until that page is whole."""
    with page.expect_navigation():
        page.click(selector)
