"""Replace `asyncio.sleep` for one module alone: other threads of the process, such as a server's, go on sleeping."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


def patch_sleep(monkeypatch: pytest.MonkeyPatch, module: Any, sleep: Callable[[float], Any]) -> None:
    """Let a module, which imports `asyncio`, sleep by another function until the end of the test."""
    own = ModuleType("asyncio")
    vars(own).update(vars(asyncio))
    monkeypatch.setattr(own, "sleep", sleep)
    monkeypatch.setattr(module, "asyncio", own)
