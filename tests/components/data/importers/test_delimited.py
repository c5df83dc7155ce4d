"""Quotes, spaces, empty rows and delimiters of CSV and TSV texts."""

import pytest

from components.data.importers.delimited import read_delimited
from components.errors import DataError


def read(kind: str, text: str, delimiter: str = "") -> list[list[str]]:
    return [list(row.values()) for _, row in read_delimited(kind, "rows", text, ("q", "a"), delimiter).rows]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('q\ta\nthe "x\ty\n"one\tz\n5"\tw\n', [['the "x', "y"], ['"one', "z"], ['5"', "w"]]),
        ('q\ta\r\n"one\u2028\tz\r\n', [['"one\u2028', "z"]]),
        ('q\ta\n"he said ""no"""\tz\n', [['he said "no"', "z"]]),
        ('q\ta\n"two\nlines"\tz\n', [["two\nlines", "z"]]),
    ],
)
def test_quotes_of_tsv_are_text_where_marks_would_join_or_break_lines(text: str, rows: list[list[str]]) -> None:
    assert read("tsv", text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('q, a\n"x", "b, c"\n', [["x", "b, c"]]),
        ('q,a\n"x", "b"\n', [["x", "b"]]),
        ('q,a\n"He said, ""hi"", and left", b\n', [['He said, "hi", and left', " b"]]),
        ("q,a\n | s : p : o,b\n", [[" | s : p : o", "b"]]),
    ],
)
def test_a_space_before_a_quoted_cell_is_no_text(text: str, rows: list[list[str]]) -> None:
    assert read("csv", text) == rows


def test_rows_without_text_are_left_out() -> None:
    assert read("csv", "q,a\nx,y\n,\n   \n , \nz,w\n,,\n") == [["x", "y"], ["z", "w"]]


def test_a_broken_quote_of_a_file_with_quoted_cells_is_told() -> None:
    with pytest.raises(DataError, match="begins at line 3"):
        read("csv", 'q,a\n"x",y\n"z,w\n')
