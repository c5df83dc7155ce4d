"""The ledger keeps every entry as it was written, and the database refuses changes."""

import pytest
import sqlalchemy as sql

from components.errors import WorkspaceError
from components.rollout.store.database import open_database_url
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.ledger_chain import check_chain
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


def test_the_database_refuses_to_replace_a_line_or_to_insert_one_before_another(database_url):
    database = open_database_url(database_url)
    append_entries(database, ENTRY, LATER)
    columns = "(id, at, tenant, by, action, from_version, to_version, why, figures)".replace("by", '"by"')
    values = "VALUES ({}, '2026', 'eve', 'eve', 'promote', '1', '2', '', '{{}}')"
    ids = [1, 2] if database.engine.dialect.name == "postgresql" else [0, -1, 1, 2]
    inserts = [f"INSERT INTO {LEDGER.name} {columns} {values}".format(number) for number in ids]
    if database.engine.dialect.name == "postgresql":
        inserts += [f"{one} ON CONFLICT (id) DO UPDATE SET tenant = 'eve'" for one in inserts]
    else:
        inserts += [one.replace("INSERT", f"INSERT OR {way}") for one in inserts for way in ("REPLACE", "FAIL")]
        inserts += [f"{one} ON CONFLICT DO UPDATE SET tenant = 'eve'" for one in inserts[:4]]
    database.close()
    engine = sql.create_engine(database_url)  # as another program: without the settings of our connections
    for insert in inserts:
        with pytest.raises(sql.exc.DBAPIError), engine.begin() as connection:
            connection.exec_driver_sql(insert)
    engine.dispose()
    database = open_database_url(database_url)
    assert read_history(database) == [ENTRY, LATER]
    append_entries(database, ENTRY)
    assert check_chain(database).broken is None
    database.close()
