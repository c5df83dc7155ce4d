"""Shared by the tests that run vLLM itself: models, artifacts and engines. `make test-vllm` runs them."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

for name, value in {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process, so that tests can look into the engine
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",  # some models of vLLM compile parts of themselves, also in eager mode
}.items():
    os.environ.setdefault(name, value)
sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from engines import Served, serve  # noqa: E402 - vLLM reads the environment when it is imported
from tiny_models import Model, make_model  # noqa: E402


@pytest.fixture(scope="session")
def make_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """A function from a kind of model to a tiny one of random weights, made once."""
    made: dict[str, Model] = {}

    def make(kind: str) -> Model:
        if kind not in made:
            made[kind] = make_model(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return make


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """A function of a model and options of vLLM to an engine with the connector; one at a time."""
    running: list[Served] = []

    def begin(model: Model, settings: dict[str, Any] | None = None, **options: Any) -> Served:
        while running:
            running.pop().close()
        running[:] = [serve(model, tmp_path_factory.mktemp("store"), settings or {}, options)]
        return running[0]

    yield begin
    for one in running:
        one.close()
