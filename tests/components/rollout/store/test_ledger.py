"""The ledger keeps every entry as it was written, and the database refuses changes."""

import pytest

from components.errors import WorkspaceError
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.tables import LEDGER
from components.rollout.types import LedgerEntry

ENTRY = LedgerEntry(tenant="acme", by="ada@desk", action="promote", from_version="1", to_version="2", figures={"n": 3})
LATER = LedgerEntry(tenant="birch", by="rollout", action="rollback", from_version="2", to_version="1", why="errors")


def test_entries_are_read_in_order_by_tenant_or_all(database):
    append_entries(database)
    append_entries(database, ENTRY, LATER)
    append_entries(database, ENTRY)
    assert read_history(database) == [ENTRY, LATER, ENTRY]
    assert read_history(database, "acme") == [ENTRY, ENTRY]
    assert read_history(database, "cedar") == []


def test_the_database_refuses_changes_of_the_ledger(database):
    append_entries(database, ENTRY)
    changes = ["UPDATE {} SET tenant = 'eve'", "DELETE FROM {}"]
    if database.engine.dialect.name == "postgresql":
        changes.append("TRUNCATE {}")
    for change in changes:
        with pytest.raises(WorkspaceError, match="append-only"), database.transaction("a change") as connection:
            connection.exec_driver_sql(change.format(LEDGER.name))
    assert read_history(database) == [ENTRY]
