"""Too little memory to decode all rows together: fewer are, and write the same; one that does not fit alone is told."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("limited_memory.py")


def _decoded(*arguments: int) -> tuple[Any, str]:
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    given_back = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what was freed counts no more
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=given_back)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), ran.stderr


@pytest.mark.slow
def test_rows_that_do_not_fit_together_are_decoded_in_smaller_parts_and_write_the_same() -> None:
    same, log = _decoded(60, 12, 1200)
    assert "out of memory with 12 rows together: continuing with 6" in log
    assert same is True


@pytest.mark.slow
def test_a_row_that_does_not_fit_alone_is_an_error_that_says_so() -> None:
    told, _ = _decoded(8, 2, 2500)
    assert "memory to decode one row" in told
    assert "too little for 2502 tokens to read and 6 to write" in told
