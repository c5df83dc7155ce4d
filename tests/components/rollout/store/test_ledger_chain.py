"""A changed, removed or inserted line of the ledger is found; many writers make one chain."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from components.errors import WorkspaceError
from components.rollout.store.database import open_database_url
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.ledger_chain import check_chain
from components.rollout.store.migrations import SCHEMA
from components.rollout.types import LedgerEntry
from components.storage.database import Database

TABLE = "prefixfleet_ledger"
OLD_LINE = (
    f'INSERT INTO {TABLE} (at, tenant, "by", action, from_version, to_version, why, figures) '
    "VALUES ('2026', '{}', 'ada', 'promote', '', '1', 'by hand', '{{}}')"
)
TRIGGERS = {
    "sqlite": [f"DROP TRIGGER {TABLE}_{name}" for name in ("no_update", "no_delete", "no_replace", "at_end")],
    "postgresql": [f"DROP TRIGGER {TABLE}_append_only ON {TABLE}"],
}


def make_entry(number, tenant="acme"):
    """Entries with even numbers have an origin."""
    origin = "" if number % 2 else "console from 10.0.0.7"
    values = {"to_version": str(number), "why": "ü", "figures": {"n": 0.1}, "origin": origin}
    return LedgerEntry(tenant=tenant, by="ada", action="promote", **values)


@contextmanager
def tampering(database):
    """A transaction without the triggers, as the owner of the database can have it."""
    with database.transaction("a change") as connection:
        for statement in TRIGGERS[connection.dialect.name]:
            connection.exec_driver_sql(statement)
        yield connection


def test_an_unchanged_ledger_continues_the_chain_and_has_a_last_value(database):
    assert (check_chain(database).lines, check_chain(database).value) == (0, "")
    append_entries(database, make_entry(1), make_entry(2))
    first = check_chain(database)
    append_entries(database, make_entry(3, "birch"))
    second = check_chain(database)
    assert (first.lines, first.broken, second.lines, second.broken, second.unchained) == (2, None, 3, None, 0)
    assert len({first.value, second.value, ""}) == 3


@pytest.mark.parametrize(
    ("change", "line", "reason"),
    [
        ("UPDATE {0} SET why = 'eve' WHERE id = 3", 3, "it was changed"),
        ("UPDATE {0} SET tenant = 'eve' WHERE id = 1", 1, "it was changed"),
        ("UPDATE {0} SET figures = '{{}}' WHERE id = 5", 5, "it was changed"),
        ("UPDATE {0} SET chain = '' WHERE id = 4", 4, "it has no value"),
        ("DELETE FROM {0} WHERE id = 2", 3, "a line before it was removed"),
        ("DELETE FROM {0} WHERE id = 1", 2, "a line before it was removed"),
        ("UPDATE {0} SET origin = 'elsewhere' WHERE id = 2", 2, "it was changed"),
        ("UPDATE {0} SET origin = '' WHERE id = 3", 3, "it was changed"),
        ("UPDATE {0} SET id = 9 WHERE id = 2", 3, "a line before it was removed"),
        (
            'INSERT INTO {0} SELECT 9, at, tenant, "by", action, from_version, to_version, why, figures, chain, '
            "origin FROM {0} WHERE id = 5",
            9,
            "inserted",
        ),
        (OLD_LINE.format("eve").replace("{}", "{{}}"), 6, "it has no value"),
    ],
)
def test_the_first_broken_line_is_found(database, change, line, reason):
    append_entries(database, *(make_entry(number) for number in range(5)))
    with tampering(database) as connection:
        connection.exec_driver_sql(change.format(TABLE))
    broken = check_chain(database).broken
    assert broken is not None
    assert (broken.id, broken.action) == (line, "promote")
    assert reason in broken.why


def test_removed_last_lines_are_found_by_a_value_that_was_kept(database):
    append_entries(database, *(make_entry(number) for number in range(5)))
    kept = check_chain(database).value
    with tampering(database) as connection:
        connection.exec_driver_sql(f"DELETE FROM {TABLE} WHERE id = 5")
    result = check_chain(database)
    assert result.broken is None
    assert result.value != kept


def test_bytes_in_a_line_are_a_change_and_cannot_be_read_as_an_entry(database):
    append_entries(database, make_entry(1), make_entry(2))
    with tampering(database) as connection:
        if connection.dialect.name != "sqlite":
            pytest.skip("columns of other databases have one type")
        connection.exec_driver_sql(f"UPDATE {TABLE} SET figures = x'ff' WHERE id = 2")
    assert check_chain(database).broken.id == 2
    with pytest.raises(WorkspaceError, match="line 2, which another program"):
        read_history(database)


@pytest.mark.parametrize("figures", ["{{", "[]", "null", ""])
def test_figures_that_are_no_json_object_end_a_reading_with_the_line(database, figures):
    append_entries(database, make_entry(1), make_entry(2))
    with tampering(database) as connection:
        connection.exec_driver_sql(f"UPDATE {TABLE} SET figures = '{figures}' WHERE id = 2")
    with pytest.raises(WorkspaceError, match="line 2, which another program"):
        read_history(database)


def test_triggers_that_were_dropped_are_named(database):
    append_entries(database, make_entry(1))
    assert check_chain(database).missing_triggers == ()
    with tampering(database) as connection:
        wanted = [statement.split()[2] for statement in TRIGGERS[connection.dialect.name]]
    assert list(check_chain(database).missing_triggers) == wanted


@pytest.mark.parametrize("has_new", [True, False])
def test_lines_of_an_older_release_are_kept_and_covered_by_the_first_new_line(database_url, has_new):
    old = Database(database_url, replace(SCHEMA, head="0002"))
    with old.transaction("old lines") as connection:
        for tenant in ("acme", "birch", "cedar"):
            connection.exec_driver_sql(OLD_LINE.format(tenant))
    old.close()
    database = open_database_url(database_url)
    assert [one.tenant for one in read_history(database)] == ["acme", "birch", "cedar"]
    if has_new:
        append_entries(database, make_entry(1))
        append_entries(database, make_entry(2))
    result = check_chain(database)
    assert (result.broken, result.unchained, result.lines) == (None, 3, 5 if has_new else 3)
    with tampering(database) as connection:
        connection.exec_driver_sql(f"UPDATE {TABLE} SET tenant = 'eve' WHERE id = 2")
    broken = check_chain(database).broken
    if has_new:
        assert (broken.id, broken.why) == (
            4,
            "it, or one of the 3 lines before it, was changed or removed after it was written",
        )
    else:
        assert broken is None, "nothing covers them yet"
    database.close()


def test_many_writers_make_one_chain(database_url):
    databases = [open_database_url(database_url) for _ in range(4)]

    def write(database):
        for number in range(10):
            append_entries(database, make_entry(number), make_entry(number))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, databases))
    result = check_chain(databases[0])
    assert (result.lines, result.broken) == (80, None)
    for database in databases:
        database.close()
