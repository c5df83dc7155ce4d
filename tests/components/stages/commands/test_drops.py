"""Importing a data set as a drop."""

import pytest

from components.errors import DataError
from components.stages.commands.drops import write_drop
from components.stages.workspace import Workspace

OPTIONS = {"source_field": "source", "reference_field": "references"}


@pytest.fixture
def workspace(make_root):
    return Workspace(make_root(("alder",)))


def test_an_imported_data_set_becomes_a_drop_and_a_second_one_is_refused(workspace):
    source = str(workspace.data / "alder/train.jsonl")
    assert write_drop(workspace, "hub", source, "birch", OPTIONS) == {"train": 12}
    assert (workspace.drops / "birch/train.jsonl").read_bytes().count(b"\n") == 12
    with pytest.raises(DataError, match="no drop of birch waiting"):
        write_drop(workspace, "hub", source, "birch", OPTIONS)


@pytest.mark.parametrize(("kind", "tenant"), [("nonsense", "birch"), ("hub", "../birch")])
def test_an_unknown_format_and_a_wrong_id_write_nothing(workspace, kind, tenant):
    with pytest.raises(DataError):
        write_drop(workspace, kind, str(workspace.data / "alder/train.jsonl"), tenant, OPTIONS)
    assert not workspace.drops.exists()
