import pytest

from components.errors import DataError
from components.evaluation.suites.input_tables import OUTPUT_COLUMNS, find_column, find_input_column, read_table


@pytest.mark.parametrize(
    ("name", "content", "kind", "columns", "lines"),
    [
        ("a.csv", "mr,output\nx,y\n\nz,w\n", "table", ("mr", "output"), [2, 4]),
        ("a", "mr\toutput\nx\ty\n", "table", ("mr", "output"), [2]),
        ("a.tsv", "x\ty\n", "headless", (), [1]),
        ("a.tsv", "mr\toutput\rx\ty\rz\tw\r", "table", ("mr", "output"), [2, 3]),
        ("a.csv", "mr;output\nx,y;z\n", "table", ("mr", "output"), [2]),
        ("a.txt", f"{'long, ' * 50_000}\r!\n", "lines", (), [1]),
        ("a.csv", f"mr,output\nx,{'long' * 50_000}\n", "table", ("mr", "output"), [2]),
        ("a.jsonl", '{"output": "a"}\n\n{"output": "b"}\n', "json", ("output",), [1, 3]),
        ("a.txt", "one\n\nthree\n", "lines", (), [1, 2, 3]),
    ],
)
def test_the_kind_of_a_file_and_the_lines_of_its_rows(write, name, content, kind, columns, lines):
    table = read_table(write(name, content))
    assert (table.kind, table.columns, [row.line_number for row in table.rows]) == (kind, columns, lines)


def test_columns_are_recognised_by_their_names(write):
    table = read_table(write("a.csv", "ref,MR,System Output\nx,y,z\n"))
    assert find_input_column(table) == "MR"
    assert find_column(table, None, OUTPUT_COLUMNS, "outputs") == "System Output"
    assert find_column(table, "REF", (), "references") == "ref"


def test_an_unknown_column_is_refused_with_the_most_similar_one(write):
    table = read_table(write("a.csv", "mr,output\nx,y\n"))
    with pytest.raises(DataError, match="did you mean 'output'"):
        find_column(table, "outputt", (), "outputs")
    with pytest.raises(DataError, match="name one of these columns"):
        find_column(table, "zzzzz", (), "references")
    with pytest.raises(DataError, match="a column of references"):
        find_column(table, None, (), "references")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("{}".encode("utf-16-le"), "UTF-16LE"),
        ("one\n".encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b", "gzip data"),
    ],
)
def test_other_encodings_and_formats_are_named(tmp_path, content, got):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=f"wanted text in UTF-8.* got {got}"):
        read_table(tmp_path / "a.txt")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing at"):
        read_table(tmp_path / "none.txt")
