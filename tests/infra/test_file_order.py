"""The files that `make test-slow` imports, and the table by which the longest start first."""

from types import SimpleNamespace

from file_order import ROOT, may_be_slow, read_seconds, sort_by_seconds


def test_every_file_of_the_table_exists():
    assert [file for file in read_seconds() if not (ROOT / file).is_file()] == []


def test_the_longest_files_come_first_and_keep_the_order_of_their_tests():
    (longest, *_, shortest) = sorted(read_seconds(), key=lambda file: -read_seconds()[file])
    nodes = ["tests/infra/test_make.py::a", f"{shortest}::b", f"{longest}::d", f"{longest}::c"]
    items = [SimpleNamespace(nodeid=node) for node in nodes]
    sort_by_seconds(items)
    assert [item.nodeid for item in items] == [f"{longest}::d", f"{longest}::c", f"{shortest}::b", nodes[0]]


def test_a_file_may_have_slow_tests_if_it_or_what_it_uses_marks_them(tmp_path):
    for name, text in (("test_fast.py", "def test(): ..."), ("test_slow.py", "pytestmark = pytest.mark." + "slow")):
        (tmp_path / name).write_text(text)
    assert [may_be_slow(path) for path in (tmp_path, tmp_path / "test_fast.py", tmp_path / "test_slow.py")] == [
        True,
        False,
        True,
    ]
    assert may_be_slow(ROOT / "tests/components/rollout/store/test_ledger.py"), "its database is once PostgreSQL"
