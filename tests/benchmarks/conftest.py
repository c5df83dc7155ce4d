"""Make the benchmarks' packages `contenders` and `harness` importable, as they are for the scripts beside them."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(scope="session")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base by shape, which reads numbers."""
    from harness.random_bases import SHAPES, write_base

    folder = tmp_path_factory.mktemp("shaped") / "gpt2-tiny"
    write_base(folder, SHAPES["tiny"], None)
    return folder
