"""Replaces training and decoding by a cost model, to measure everything else of a night at any size.

The model: a tenant's training takes `seconds` on its worker (it sleeps), writes one checkpoint half-way and ends with
tensors that differ from the start; an answer of any subject is the first tokens of its source. All else is real:
files, tokens, checkpoints, artifacts, scores. `install_on_import` does it in processes that a worker starts.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

SECONDS_VARIABLE = "MODELLED_TRAINING_SECONDS"
_ANSWER_TOKENS = 8
_LOSSES = (3.0, 2.0)
"""Validation loss at the start and at the end, in nats per target token."""


def train_by_model(_base: Any, jobs: Iterable[Any], *_: Any) -> Iterator[Any]:
    """Stand for `components.training.loop.train_together`."""
    from components.training.run import TenantRun
    from components.training.shard import EndedRun

    seconds = float(os.environ[SECONDS_VARIABLE])
    for job in jobs:
        run = TenantRun(job)
        if not run.progress.step:
            run.record_validation(_LOSSES[0])
            _pass_half(run, seconds)
            run.save()
        _pass_half(run, seconds)
        run.progress.step = run.last_step
        run.record_validation(_LOSSES[1])
        run.save()
        yield EndedRun(job, run.make_result(_LOSSES[1]))


def decode_by_model(_base: Any, requests: Iterable[Any], *_: Any) -> Iterator[tuple[Any, list[int]]]:
    """Stand for `components.model.decoding.decode`."""
    for request in requests:
        yield request, list(request.source)[:_ANSWER_TOKENS]


def _pass_half(run: Any, seconds: float) -> None:
    import torch

    time.sleep(seconds / 2)
    shift = int(run.job.run_key[:4], 16) / 0xFFFF
    with torch.no_grad():
        for parameter in run.module.parameters():
            parameter.add_(0.01 + 0.01 * shift)
    run.progress.step = run.last_step // 2
    run.progress.loss_sum, run.progress.loss_tokens = 1.0, 1


_REPLACEMENTS = {
    "components.training.loop": ("train_together", train_by_model),
    "components.model.decoding": ("decode", decode_by_model),
}


def install() -> None:
    """Replace both functions in this process now."""
    for name, (attribute, replacement) in _REPLACEMENTS.items():
        setattr(importlib.import_module(name), attribute, replacement)


class _ReplacingFinder(importlib.abc.MetaPathFinder):
    """Lets the other finders find a module, and replaces a function in it once it is loaded."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        if fullname not in _REPLACEMENTS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        load, (attribute, replacement) = spec.loader.exec_module, _REPLACEMENTS[fullname]

        def load_and_replace(module: ModuleType) -> None:
            load(module)
            setattr(module, attribute, replacement)

        spec.loader.exec_module = load_and_replace  # type: ignore[method-assign]
        return spec


def install_on_import() -> None:
    """Replace both functions as soon as their modules are imported."""
    sys.meta_path.insert(0, _ReplacingFinder())
