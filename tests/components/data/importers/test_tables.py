"""CSV, TSV and JSON files of any columns: text is read as text."""

import json
import logging
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.schema import Example
from components.errors import DataError

LIMITS = DataConfig()
NOT_TEXT_TO_OTHERS = [
    "NA",
    "None",
    "null",
    "N/A",
    "nan",
    "NaN",
    "007",
    "1e5",
    "True",
    "2024-01-01",
    "-",
    "1_000",
    "#N/A",
]
OPTIONS = {"source_field": "q", "reference_field": "a", "split": "test"}


def import_one(folder: Path, name: str, content: str | bytes, **options: str) -> list[Example]:
    """Import a file with the columns q and a; its suffix is the kind."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (examples,) = import_dataset(path.suffix[1:], str(path), LIMITS, **{**OPTIONS, **options}).values()
    return examples


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_words_that_look_like_numbers_dates_or_nothing_are_text(tmp_path: Path, name: str) -> None:
    gap = "\t" if name.endswith("tsv") else ","
    lines = [f"q{gap}a", *(f"{word}{gap}{word}" for word in NOT_TEXT_TO_OTHERS)]
    if name.endswith("jsonl"):
        lines = [json.dumps({"q": word, "a": word}) for word in NOT_TEXT_TO_OTHERS]
    expected = [Example(word, (word,)) for word in NOT_TEXT_TO_OTHERS]
    assert import_one(tmp_path, name, "\n".join(lines)) == expected
    assert import_dataset("hub", str(tmp_path / name), LIMITS, **OPTIONS) == {"test": expected}


def test_numbers_and_truth_values_of_json_become_text_as_written_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "prefixfleet")
    digits = "9" * 5_000
    content = f'{{"q": 1.50, "a": [7, 1e-3, true]}}\n{{"q": {digits}, "a": "x"}}\n'
    assert import_one(tmp_path, "rows.jsonl", content) == [
        Example("1.50", ("7", "1e-3", "true")),
        Example(digits, ("x",)),
    ]
    assert "rows.jsonl: 5 cells that are numbers, dates, true or false were written as text" in caplog.text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    content = f'\ufeff q {delimiter}"a"\r\n"line 1\nline ""2""{delimiter}"{delimiter}b, c; d\r\n\r\n'
    if delimiter in (",", ";"):
        content = f'\ufeff q {delimiter}"a"\r\n"line 1\nline ""2""{delimiter}"{delimiter}b\r\n\r\n'
    (example,) = import_one(tmp_path, "rows.csv", content)
    assert example.source == f'line 1\nline "2"{delimiter}'
    assert example.references[0].startswith("b")


def test_the_first_line_of_a_spreadsheet_may_name_the_delimiter(tmp_path: Path) -> None:
    assert import_one(tmp_path, "rows.csv", "sep=^\r\nq^a\r\nx^y,z\r\n") == [Example("x", ("y,z",))]


def test_a_set_delimiter_is_used_and_a_longer_one_refused(tmp_path: Path) -> None:
    assert import_one(tmp_path, "rows.csv", "q^a\nx^y\n", delimiter="^") == [Example("x", ("y",))]
    assert import_one(tmp_path, "rows.csv", "q\ta\nx\ty\n", delimiter="\\t") == [Example("x", ("y",))]
    for other in ('"', "\n", " "):
        with pytest.raises(DataError, match="a delimiter of one character"):
            import_one(tmp_path, "rows.csv", "q,a\nx,y\n", delimiter=other)
    with pytest.raises(DataError, match=r"CSV in rows\.csv; got JSON; import it with `prefixfleet data import jsonl`"):
        import_one(tmp_path, "rows.csv", '\ufeff{"q": "x", "a": "y"}\n')
    with pytest.raises(DataError, match="an empty file"):
        import_one(tmp_path, "empty.csv", "\ufeff\n")
    with pytest.raises(DataError, match="a delimiter of one character"):
        import_one(tmp_path, "rows.csv", "q^^a\n", delimiter="^^")


def test_several_reference_columns_and_slices_are_read_and_empty_cells_left_out(tmp_path: Path) -> None:
    content = "q,a,b,part\nx,1,2,seen\ny,,2,\nz,,,s\n"
    path = tmp_path / "test.csv"
    path.write_text(content)
    options = {"source_field": "q", "reference_field": "a, b", "slice_field": "part"}
    splits = import_dataset("csv", str(path), DataConfig(max_rejects=0.5), **options)
    assert splits == {
        "test": [Example("x", ("1", "2"), "seen"), Example("y", ("2",)), Example("z", ("",), "s")],
    }


def test_a_json_array_is_read_like_json_lines_and_a_folder_has_a_file_a_split(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps([{"q": "x", "a": "y"}], indent=2))
    (tmp_path / "dev.ndjson").write_text('{"q": "z", "a": ["y", null]}')
    (tmp_path / "readme.txt").touch()
    splits = import_dataset("jsonl", str(tmp_path), LIMITS, source_field="q", reference_field="a")
    assert splits == {"train": [Example("x", ("y",))], "validation": [Example("z", ("y",))]}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.csv", "q,answer\n1,2\n", "a column 'a' in rows.csv; got the columns 'q', 'answer'"),
        ("rows.csv", "q,aa\n1,2\n", "did you mean 'aa'"),
        ("rows.csv", "", "got an empty file"),
        ("rows.csv", "q,a,q\n1,2,3\n", "'q' twice in rows.csv"),
        ("rows.csv", "q,a\n1,2\n3\n", "got 1 cells in rows.csv, line 3, and 2 columns"),
        ("rows.csv", 'q,a\n1,2\n"3,4\n5,6\n', "begins at line 3: unexpected end of data"),
        ("rows.csv", "q,a\n1,caf\u00e9".encode("latin-1"), "byte 0xe9 in line 2; convert it: iconv -f WINDOWS-1252"),
        ("rows.csv", "q,a\n1,2\n".encode("utf-16"), "rows.csv in UTF-16; convert it: iconv -f UTF-16"),
        ("rows.csv", b"PK\x03\x04\xff", "a zip archive or a spreadsheet; .*save the spreadsheet as CSV"),
        ("rows.jsonl", b"\x1f\x8b\xff", "gzip data; .*gunzip"),
        ("rows.jsonl", '{"q": "x", "a": "y"}\n{"q": 1,}\n', "rows.jsonl, line 2: .*a comma before"),
        ("rows.jsonl", "q,a\n1,2\n", "data import csv"),
        ("rows.jsonl", "[1]", "a JSON object; got NumberText in rows.jsonl, element 1"),
        ("rows.jsonl", '{"q": "x", "q": "y"}', "the same key twice"),
        ("rows.jsonl", '{"q": {"x": 1}, "a": "y"}', "got dict .* in column 'q' of rows.jsonl, line 1"),
        ("rows.jsonl", '{"q": ["x"], "a": "y"}', r"got list \['x'\] in column 'q'"),
        ("rows.jsonl", '{"q": "x", "a": [{"role": "user", "content": "x"}]}', "-o messages_field="),
        ("rows.jsonl", "[" * 100_000, "recursion"),
        ("rows.jsonl", '{"a":' * 100_000, "recursion"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_place_and_the_fix(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        import_one(tmp_path, name, content)


def test_a_file_without_a_split_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--split"):
        import_one(tmp_path, "rows.csv", "q,a\n", split="")
    with pytest.raises(DataError, match="a split out of train, validation, test"):
        import_one(tmp_path, "rows.csv", "q,a\n", split="dev")
