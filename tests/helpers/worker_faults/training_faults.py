"""Faults of a training worker, in the processes that import this file: see `sitecustomize` and `forked_engine`.

TEST_FAULTS is a folder. A worker's processes write there what they train, one line an event, to the file `notes`, and
obey files that a test puts there:

    hold-<step>          a validation of this step waits until the file is gone or the training is asked to stop
    exit-<tenant>        a training of this tenant ends its process at its second validation, as without memory
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULE = "components.stages.train"
_FOLDER = Path(os.environ.get("TEST_FAULTS", "."))


def _note(event: str, tenant: str, step: int) -> None:
    line = f"{os.environ['TEST_WORKER']} {event} {tenant} {step}\n"
    with (_FOLDER / "notes").open("a", encoding="utf-8") as file:
        file.write(line)


def _patch(module: ModuleType) -> None:
    training: Any = module._TenantTraining  # type: ignore[attr-defined]
    report, finish = training._report_validation, training.finish

    def report_and_fail(self: Any, step: int, losses: dict[str, float]) -> None:
        report(self, step, losses)
        tenant = self.item.tenant
        _note("validated", tenant, step)
        if step and (_FOLDER / f"exit-{tenant}").exists():
            os._exit(9)
        while (_FOLDER / f"hold-{step}").exists() and not self.hooks.stop():
            time.sleep(0.05)

    def finish_and_note(self: Any, result: Any) -> Any:
        outcome = finish(self, result)
        _note("finished", self.item.tenant, result.steps)
        return outcome

    training._report_validation, training.finish = report_and_fail, finish_and_note


class _Finder(importlib.abc.MetaPathFinder):
    """Patches the module once it is loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            _patch(module)

        spec.loader.exec_module = load_and_patch  # type: ignore[method-assign]
        return spec


if _MODULE in sys.modules:
    _patch(sys.modules[_MODULE])
else:
    sys.meta_path.insert(0, _Finder())
