"""A tenant's splits: a missing one is named; evaluation reads the first examples of the configured split."""

import pytest

from components.errors import DataError
from components.stages.splits import read_evaluation_examples, read_splits
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
