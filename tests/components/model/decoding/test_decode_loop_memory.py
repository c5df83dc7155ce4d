"""Too little memory to decode all rows together: fewer rows share a batch, and a row that does not fit is an error."""

from pathlib import Path
from typing import Any

import pytest
from memory_limit import run_program


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """The results of two long rows and of eight rows in too little memory; one process computes both."""
    found: list[dict[str, Any]] = run_program(Path(__file__).with_name("limited_decoding.py"), "4,2,1500", "12,8,500")
    return found


@pytest.mark.slow
def test_rows_that_do_not_fit_together_are_decoded_in_smaller_batches_with_the_same_output(
    results: list[dict[str, Any]],
) -> None:
    assert results[1]["log"][0] == "out of memory with 8 rows together: continuing with 4"
    assert results[1]["outcome"] is True


@pytest.mark.slow
def test_a_row_that_does_not_fit_alone_is_an_error_with_its_sizes(results: list[dict[str, Any]]) -> None:
    assert "memory to decode one row" in results[0]["outcome"]
    assert "too little for 1502 tokens to read and 6 to write" in results[0]["outcome"]
