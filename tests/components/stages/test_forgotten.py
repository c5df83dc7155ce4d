"""The list of forgotten tenants beside the backups."""

import json

from workspaces import set_params

from components.rollout.store.ledger import append_entries
from components.rollout.types import LedgerEntry
from components.stages.forgotten import find_forgotten_since, note_forgotten
from components.stages.workspace import Workspace
from components.storage.backups.store import open_backups


def add(root, tenant, action="forget"):
    append_entries(Workspace(root).database, LedgerEntry(tenant=tenant, by="ada", action=action, why="x"))


def test_forgets_that_the_restored_ledger_has_are_not_repeated(make_root, tmp_path):
    root = make_root(("alder",), backup={"target": str(tmp_path / "backups")})
    store = open_backups(str(tmp_path / "backups"))
    add(root, "birch")
    add(root, "alder", "promote")
    note_forgotten(Workspace(root))
    assert [row["tenant"] for row in json.loads((tmp_path / "backups" / "forgotten.json").read_text())] == ["birch"]
    assert find_forgotten_since(store, Workspace(root).database) == []
    store.write_value("forgotten", b'[{"tenant": "alder", "at": "2026-01-01"}]')
    assert find_forgotten_since(store, Workspace(root).database) == ["alder"]


def test_without_a_target_or_with_one_that_refuses_forgetting_goes_on(make_root, tmp_path, caplog):
    root = make_root(("alder",))
    note_forgotten(Workspace(root))
    assert caplog.text == ""
    (tmp_path / "file").write_text("x")
    set_params(root, backup={"target": str(tmp_path / "file")})
    add(root, "birch")
    note_forgotten(Workspace(root))
    assert "the next backup notes it" in caplog.text
