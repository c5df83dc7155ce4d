"""Drops as a user handles them: importing a data set as a drop, and checking drops without taking them."""

import pytest

from components.errors import DataError
from components.stages.commands.drops import check_drops, write_drop
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


def test_a_check_has_the_lines_and_the_refusal_of_every_drop_and_takes_none(workspace, write_tenant, write_lines):
    write_tenant(workspace.drops, "birch", start=3)
    write_lines(workspace.drops / "cedar/train.jsonl", [{"source": "a", "references": ["b"]}])
    (workspace.drops / "alder").mkdir()
    (workspace.drops / "alder/test.jsonl").write_text('{"source": "a"}\n')
    checks = check_drops(workspace)
    assert sorted(checks) == ["alder", "birch", "cedar"]
    assert checks["birch"].refusal == ""
    assert {split: len(lines) for split, lines in checks["birch"].report.accepted.items()} == {
        "train": 12,
        "validation": 4,
        "test": 6,
    }
    assert len(checks["alder"].report.rejects) == 1
    assert checks["alder"].refusal
    assert "validation.jsonl" in checks["cedar"].refusal
    assert not (workspace.data / "birch").exists()


@pytest.mark.parametrize("tenants", [None, ["birch"]])
def test_checking_without_a_drop_is_refused(workspace, tenants):
    with pytest.raises(DataError, match=r"drops in .*drops"):
        check_drops(workspace, tenants)
