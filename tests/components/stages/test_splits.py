"""A tenant's splits: a missing one is named; evaluation reads the first examples of the configured split."""

import pytest

from components.errors import DataError
from components.stages.splits import check_overlaps, describe_overlaps, read_evaluation_examples, read_splits
from components.stages.workspace import Workspace


def test_a_missing_split_is_named(make_root):
    root = make_root(("alder",))
    assert sorted(read_splits(Workspace(root), "alder")) == ["test", "train", "validation"]
    (root / "data/alder/test.jsonl").unlink()
    with pytest.raises(DataError, match=r"alder.*test\.jsonl"):
        read_splits(Workspace(root), "alder")


def test_evaluation_reads_the_first_examples_of_its_split(make_root):
    workspace = Workspace(make_root(("alder",), evaluate={"split": "validation", "max_examples": 2}))
    examples = read_evaluation_examples(workspace, "alder", workspace.params)
    assert examples == read_splits(workspace, "alder")["validation"][:2]


def test_an_overlap_is_logged_and_a_copied_split_is_refused(make_root, write_lines, examples_of, caplog):
    root = make_root(("alder",))
    workspace = Workspace(root)
    measured = check_overlaps(workspace, "alder", read_splits(workspace, "alder"))
    assert not caplog.records
    assert (measured, describe_overlaps(measured)) == ({"validation_overlap": 0.0, "test_overlap": 0.0}, "")
    lines = examples_of("alder", 12)
    write_lines(root / "data/alder/test.jsonl", [*examples_of("alder", 20, 100), *lines[:2]])
    measured = check_overlaps(workspace, "alder", read_splits(workspace, "alder"))
    assert describe_overlaps(measured) == "9.1% of the test examples have a source that is also in train"
    (record,) = caplog.records
    assert "alder: 2 of 22 test examples (9.1%) have a source that is also in train" in record.getMessage()
    write_lines(root / "data/alder/test.jsonl", lines)
    with pytest.raises(DataError, match="at most 10% of the test sources of alder in train"):
        check_overlaps(workspace, "alder", read_splits(workspace, "alder"))
