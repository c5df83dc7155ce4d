"""Prefect, imported before a fork and shown after it to whoever imports it, with the settings that hold by then.

Prefect reads its settings and makes a folder when it is imported, and a command sets its variables before that.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = "prefect"
_IMPORTED = (
    *("main", "flow_engine", "task_engine", "deployments.flow_runs", "artifacts", "runtime"),
    *("cli._app", "cli.server", "server.api.server"),
)


def import_and_hide() -> None:
    """Import Prefect, and take its modules away until a process that is forked later imports it."""
    set_by_tests = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("PREFECT_LOGGING_")}
    for name in _IMPORTED:
        import_module(f"{_PACKAGE}.{name}")
    os.environ.update(set_by_tests)
    names = [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]
    sys.meta_path.insert(0, _Finder({name: sys.modules.pop(name) for name in names}))


class _Finder(MetaPathFinder, Loader):
    """Finds the hidden package once."""

    def __init__(self, hidden: dict[str, ModuleType]) -> None:
        self._hidden, self._spec = hidden, hidden[_PACKAGE].__spec__

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name == _PACKAGE else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._hidden[_PACKAGE]

    def exec_module(self, module: ModuleType) -> None:
        """Show all modules, and read the settings again."""
        sys.meta_path.remove(self)
        sys.modules.update(self._hidden)
        module.__spec__ = self._spec
        import_module(f"{_PACKAGE}.context").refresh_global_settings_context()
        import_module(f"{_PACKAGE}.logging.configuration").setup_logging(incremental=False)
