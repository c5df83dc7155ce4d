"""A console on a workspace with a history, a browser to look at it, and axe to check what it shows.

`fleet_root` is a workspace of three tenants, made once: `alder` has two versions, a challenger on trial and traffic;
`birch` a rejection and text that tries to be a script; `cedar` a drop that was refused. Tests that change it use
`make_fleet_root` for one of their own.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from console_fleet import make_console_fleet
from served_console import ServedConsole, serve_console_in_thread
from waiting import LIMIT_S

from components.storage.atomic_files import hold_file_lock

LAUNCH = ["--no-sandbox", "--disable-gpu", "--disable-software-rasterizer"]
"""Without a process that draws as a graphics card would, which costs a sixth of the browser's processor time."""
SHOTS = Path(__file__).resolve().parents[3] / "build" / "screenshots"
"""Pictures of the pages: kept as output of the tests."""


@pytest.fixture(scope="session")
def fleet_root(make_checkout_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with champions, a trial, a rejection, a refused drop, traffic and feedback.

    The workers of pytest-xdist share one: the first makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "console-fleet"
    with hold_file_lock(folder.with_suffix(".lock"), folder, "wait", wait_s=LIMIT_S):
        made = folder / "made"
        if not made.exists():
            made.write_text(str(make_console_fleet(make_checkout_in, folder)), encoding="utf-8")
    return Path(made.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def console(fleet_root: Path) -> Iterator[ServedConsole]:
    """A running console on `fleet_root`, without keys: anyone on this machine may read."""
    with serve_console_in_thread(fleet_root) as served:
        yield served


@pytest.fixture(scope="session")
def make_fleet_root(fleet_root: Path) -> Callable[[Path], Path]:
    """A function to a copy of the workspace below a folder, for a test that changes it."""

    def copy(folder: Path) -> Path:
        shutil.copytree(fleet_root.parent, folder / "copy")
        return folder / "copy" / fleet_root.name

    return copy


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless; the test is skipped where it is missing.

    Not for a whole session: while Playwright runs, its thread has a running event loop, and `asyncio.run` fails.
    """
    from playwright.sync_api import expect, sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    expect.set_options(timeout=1000 * LIMIT_S)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=LAUNCH)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """A function to a page of a browser without cookies: `open_page(url, width=1280, dark=False)`.

    After the test, a script error or a refusal by the content security policy on any of these pages is a failure.
    """
    contexts, problems = [], []

    def open_at(url: str, width: int = 1280, height: int = 900, *, dark: bool = False) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale="en-GB",
            timezone_id="Europe/Berlin",
        )
        contexts.append(context)
        context.set_default_timeout(1000 * LIMIT_S)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="session")
def take_shot() -> Callable[[Any, str], None]:
    """A function that saves a picture of a whole page under a name."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


@pytest.fixture(scope="session")
def check_look(take_shot: Callable[[Any, str], None], find_barriers: Callable[[Any], list[str]]) -> Callable[..., None]:
    """A function that saves a picture of a page, and fails on barriers and on text wider than the window."""

    def check(page: Any, name: str) -> None:
        take_shot(page, name)
        assert find_barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]

    return check


@pytest.fixture(scope="session")
def find_barriers() -> Callable[[Any], list[str]]:
    """A function to what axe finds serious or critical on a page: rule and first element."""
    script = (Path(__file__).resolve().parents[2] / "helpers" / "axe" / "axe.min.js").read_text(encoding="utf-8")

    def find(page: Any) -> list[str]:
        page.evaluate(script)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
        ]

    return find
