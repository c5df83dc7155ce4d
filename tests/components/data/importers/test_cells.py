"""Cells that are no text, as Parquet files have them."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.importers.cells import Fields, Table, make_examples
from components.data.schema import Example
from components.errors import DataError


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (Decimal("1.50"), "1.50"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        ("café".encode(), "café"),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_a_cell_becomes_the_text_that_its_value_is_written_as(cell: Any, text: str) -> None:
    table = Table("t", ["s", "r"], [("row 1", {"s": cell, "r": "x"})])
    assert make_examples(table, Fields("s", ("r",))) == [Example(text, ("x",))]


def test_bytes_that_are_not_utf8_are_refused() -> None:
    table = Table("t", ["s", "r"], [("row 1", {"s": b"\xff" * 200, "r": "x"})])
    with pytest.raises(DataError, match=r"got bytes .* in column 's' of row 1"):
        make_examples(table, Fields("s", ("r",)))


def test_a_parquet_file_with_numbers_and_lists_is_read(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = {"q": ["007", "NA"], "a": [["x", "y"], ["None"]], "n": [1, 2]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "test.parquet")
    options = {"source_field": "q", "reference_field": "a", "slice_field": "n"}
    for kind in ("parquet", "hub"):
        splits = import_dataset(kind, str(tmp_path), DataConfig(), **options)
        assert splits == {"test": [Example("007", ("x", "y"), "1"), Example("NA", ("None",), "2")]}
