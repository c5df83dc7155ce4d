"""Compiled test files, written once for all workers of pytest-xdist.

pytest rewrites each test file's assertions, which takes six seconds for all files; workers that start at once and find
no compiled files would each do it.
"""

import sys
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

TESTS = Path(__file__).resolve().parents[1]


def compile_tests(config: pytest.Config) -> None:
    """Rewrite and compile those that have changed; nothing where Python may not write compiled files."""
    if sys.dont_write_bytecode:
        return
    state = config.stash[rewrite.assertstate_key]
    for file in (one for pattern in ("conftest.py", "test_*.py") for one in TESTS.rglob(pattern)):
        folder = rewrite.get_cache_dir(file)
        compiled = folder / (file.stem + rewrite.PYC_TAIL)
        if rewrite._read_pyc(file, compiled) is None and rewrite.try_makedirs(folder):
            stat, code = rewrite._rewrite_test(file, config)
            rewrite._write_pyc(state, code, stat, compiled)
