"""The table by which the longest files of tests begin first."""

from types import SimpleNamespace

from file_order import ROOT, read_seconds, sort_by_seconds


def test_every_file_of_the_table_exists():
    assert [file for file in read_seconds() if not (ROOT / file).is_file()] == []


def test_files_that_take_longest_come_first_and_keep_their_order_inside():
    (longest, *_, shortest) = sorted(read_seconds(), key=lambda file: -read_seconds()[file])
    nodes = ["tests/infra/test_make.py::a", f"{shortest}::b", f"{longest}::d", f"{longest}::c"]
    items = [SimpleNamespace(nodeid=node) for node in nodes]
    sort_by_seconds(items)
    assert [item.nodeid for item in items] == [f"{longest}::d", f"{longest}::c", f"{shortest}::b", nodes[0]]
