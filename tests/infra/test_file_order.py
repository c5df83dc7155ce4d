"""tests/seconds.txt: the table by which the longest test files start first."""

from types import SimpleNamespace

from file_order import ROOT, read_seconds, sort_by_seconds


def test_every_file_of_the_table_exists():
    assert [file for file in read_seconds() if not (ROOT / file).is_file()] == []


def test_the_longest_files_come_first_and_keep_the_order_of_their_tests():
    (longest, *_, shortest) = sorted(read_seconds(), key=lambda file: -read_seconds()[file])
    nodes = ["tests/infra/test_make.py::a", f"{shortest}::b", f"{longest}::d", f"{longest}::c"]
    items = [SimpleNamespace(nodeid=node) for node in nodes]
    sort_by_seconds(items)
    assert [item.nodeid for item in items] == [f"{longest}::d", f"{longest}::c", f"{shortest}::b", nodes[0]]
