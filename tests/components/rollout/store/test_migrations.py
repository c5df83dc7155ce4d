"""The rollout's tables and their revisions, on databases filled by the release before migrations."""

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql
from alembic.script import ScriptDirectory
from table_changes import find_breaking, record_statements

from components.errors import WorkspaceError
from components.rollout.store.database import open_database_url
from components.rollout.store.findings_cache import read_findings
from components.rollout.store.ledger import append_entries, read_history
from components.rollout.store.migrations import SCHEMA
from components.rollout.store.pending_moves import read_pending_move
from components.rollout.store.tables import EVENT_OUTBOX, LEDGER
from components.rollout.store.tenant_state import read_exposures, read_states
from components.rollout.store.usage import Usage, UsageKey, read_usage
from components.rollout.store.usage_tables import SERVED
from components.rollout.types import Exposure, LedgerEntry
from components.storage.database import Database

METADATA = SERVED.metadata
"""With the tables of all files."""
OLD = Path(__file__).parent / "before_migrations"
START_S = 1_777_622_400
LATER_TABLES = {
    f"prefixfleet_{name}"
    for name in (
        *("causes", "arrivals", "input_profiles", "inputs", "input_lengths", "runs", "run_tenants"),
        *("answers", "counted_opinions", "quotas", "servers", "flow_ends"),
        *("uploaded_files", "tuning_jobs", "tuning_events", "tuning_notices"),
        *("usage", "usage_writers", "trainings", "stored_bytes", "deliveries"),
    )
}


def execute(url, script):
    """Run a whole SQL script by the database's own driver."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(script)
        return
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.connection.cursor().execute(script)
    engine.dispose()


def read_dump(url):
    return (OLD / f"{url.split(':')[0]}.sql").read_text()


@contextmanager
def inspecting(url):
    engine = sql.create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def read_rows(url, columns=None):
    """Table -> its rows, sorted; without the table of the revision. `columns`: the only tables and columns read."""
    with inspecting(url) as connection:
        metadata = sql.MetaData()
        metadata.reflect(connection)
        return {
            name: sorted(map(tuple, connection.execute(sql.select(*_select(table, columns)))), key=repr)
            for name, table in metadata.tables.items()
            if name != SCHEMA.version_table and (columns is None or name in columns)
        }


def _select(table, columns):
    return [table.c[name] for name in columns[table.name]] if columns else list(table.c)


def list_columns(url):
    """Table -> its columns."""
    with inspecting(url) as connection:
        inspector = sql.inspect(connection)
        return {name: [one["name"] for one in inspector.get_columns(name)] for name in inspector.get_table_names()}


def describe_tables(url):
    """Columns, keys and indexes of the rollout's tables, as the database itself describes them."""
    with inspecting(url) as connection:
        inspector = sql.inspect(connection)
        return {
            name: (
                [{**column, "type": str(column["type"])} for column in inspector.get_columns(name)],
                inspector.get_pk_constraint(name),
                inspector.get_indexes(name),
            )
            for name in METADATA.tables.keys() - LATER_TABLES
        }


def read_revisions(database):
    with database.connect("the revision") as connection:
        return connection.exec_driver_sql(f"SELECT version_num FROM {SCHEMA.version_table}").scalars().all()


def test_a_filled_database_of_the_release_before_migrations_is_adopted_without_loss(database_url):
    execute(database_url, read_dump(database_url))
    before, columns = read_rows(database_url), list_columns(database_url)
    assert before.keys() == {*METADATA.tables, "prefixfleet_keys"} - LATER_TABLES
    assert all(before.values()), "every table has rows"
    for _ in range(2):
        database = open_database_url(database_url)
        assert read_revisions(database) == [SCHEMA.head]
        check_old_values(database)
        database.close()
        assert read_rows(database_url, columns) == before


def check_old_values(database):
    """What the old release wrote reads as it did there."""
    assert [(one.action, one.why) for one in read_history(database, "acme")] == [
        ("promote", "the first version"),
        ("challenge", "it passed the gate"),
        ("advance", "nothing against it at 5%; on to 25%"),
    ]
    states = read_states(database)
    assert (states["birch"].champion, states["birch"].pinned) == ("3", True)
    assert read_exposures(database) == {
        "acme": Exposure("2", 0.25, False, 0.05, START_S + 3600),
        "cedar": Exposure("9", 1.0, True, 0.0, START_S),
    }
    with database.connect("the pending move") as connection:
        after, entry = read_pending_move(connection, "acme")
    assert (after.champion, entry.why) == ("2", "nothing against it after 3.0 hours")
    assert [one.check for one in read_findings(database)["acme"].findings] == ["errors"]
    with database.connect("the outbox") as connection:
        waiting = connection.execute(sql.select(EVENT_OUTBOX.c.entry)).scalars().all()
    assert [LedgerEntry(**json.loads(entry)).from_version for entry in waiting] == ["8"]


def test_the_ledger_of_an_adopted_database_goes_on_and_stays_append_only(database_url):
    execute(database_url, read_dump(database_url))
    database = open_database_url(database_url)
    added = LedgerEntry(tenant="acme", by="ada@desk", action="promote", from_version="1", to_version="2")
    append_entries(database, added)
    assert len(read_history(database)) == 7
    assert read_history(database, "acme")[-1] == added
    with pytest.raises(WorkspaceError, match="append-only"), database.transaction("a change") as connection:
        connection.execute(sql.delete(LEDGER))
    database.close()


def test_a_filled_database_at_revision_one_is_upgraded_without_loss(database_url):
    Database(database_url, replace(SCHEMA, head="0001")).close()
    statements = read_dump(database_url).split(";\n")
    rows = [one for one in statements if one.startswith("INSERT") and "prefixfleet_keys" not in one]
    execute(database_url, ";\n".join(rows) + ";")
    before, columns = read_rows(database_url), list_columns(database_url)
    database = open_database_url(database_url)
    assert read_revisions(database) == [SCHEMA.head]
    check_old_values(database)
    database.close()
    assert read_rows(database_url, columns) == before


def test_revision_one_makes_the_tables_of_the_release_before_migrations(make_database_url):
    new_url, old_url = make_database_url(), make_database_url()
    Database(new_url, replace(SCHEMA, head="0001")).close()
    execute(old_url, read_dump(old_url))
    assert describe_tables(new_url) == describe_tables(old_url)


def test_trainings_of_runs_before_usage_was_recorded_are_taken_over(database_url):
    Database(database_url, replace(SCHEMA, head="0012")).close()
    values = "'acme', 'promoted', 'data changed', '', '', '', 'cpu'"
    columns = (
        "run, tenant, result, reason, detail, shard, worker, device, began_s, ended_s, device_seconds, training_tokens"
    )
    execute(
        database_url,
        f"INSERT INTO prefixfleet_run_tenants ({columns}) VALUES (1, {values}, 86400, 86500.5, 2.25, 70);"
        f"INSERT INTO prefixfleet_run_tenants ({columns}) VALUES (2, {values}, 0, 0, 0, 0);",
    )
    database = open_database_url(database_url)
    assert read_usage(database, 0, 9, by_day=True) == {
        UsageKey("acme", 1): Usage(training_us=2_250_000, training_tokens=70)
    }
    database.close()


def test_the_head_is_the_newest_revision():
    assert ScriptDirectory(SCHEMA.folder, version_locations=[SCHEMA.folder]).get_heads() == [SCHEMA.head]


def test_mlflow_s_own_revision_in_the_same_database_is_left_alone(database_url):
    execute(
        database_url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32)); INSERT INTO alembic_version VALUES ('ab12');",
    )
    database = open_database_url(database_url)
    assert read_revisions(database) == [SCHEMA.head]
    database.close()
    assert read_rows(database_url)["alembic_version"] == [("ab12",)]


REVISIONS = sorted(path.stem.removeprefix("revision_") for path in SCHEMA.folder.glob("revision_*.py"))
REVISIONS_WITH_TRIGGERS = {"0001", "0003"}
"""Of the ledger, which code of every release only adds to."""


def test_each_revision_says_its_kind_and_one_that_expands_only_adds(database_url):
    scripts = ScriptDirectory(SCHEMA.folder, version_locations=[SCHEMA.folder])
    own = (SCHEMA.version_table, SCHEMA.oldest_code_table)
    for revision in REVISIONS:
        module = scripts.get_revision(revision).module
        assert module.kind in ("expand", "contract")
        assert (module.kind == "contract") == hasattr(module, "oldest_code")
        with record_statements() as statements:
            database = Database(database_url, replace(SCHEMA, head=revision, needs=revision), is_prepared=False)
            assert database.upgrade(contract=True) == [revision]
            database.close()
        if module.kind == "expand":
            triggers = revision in REVISIONS_WITH_TRIGGERS
            assert find_breaking(statements, own_tables=own, may_add_triggers=triggers) == []
        else:
            assert module.oldest_code < revision


def test_revisions_are_numbers_of_four_digits_and_the_code_needs_the_newest_that_expands():
    scripts = ScriptDirectory(SCHEMA.folder, version_locations=[SCHEMA.folder])
    kinds = {revision: scripts.get_revision(revision).module.kind for revision in REVISIONS}
    assert [f"{number:04d}" for number in range(1, len(REVISIONS) + 1)] == REVISIONS
    assert (SCHEMA.needs or SCHEMA.head) == max(revision for revision, kind in kinds.items() if kind == "expand")


@pytest.mark.parametrize(
    ("statement", "is_breaking"),
    [
        ("ALTER TABLE prefixfleet_ledger ADD COLUMN note TEXT", False),
        ("ALTER TABLE prefixfleet_ledger ADD COLUMN note TEXT DEFAULT '' NOT NULL", False),
        ("ALTER TABLE prefixfleet_ledger ADD COLUMN note TEXT NOT NULL", True),
        ("ALTER TABLE prefixfleet_ledger DROP COLUMN why", True),
        ("ALTER TABLE prefixfleet_ledger RENAME TO moves", True),
        ("ALTER TABLE prefixfleet_ledger ALTER COLUMN why TYPE VARCHAR(10)", True),
        ("DROP TABLE prefixfleet_causes", True),
        ("DROP INDEX ix_prefixfleet_ledger_action", True),
        ("CREATE UNIQUE INDEX x ON prefixfleet_runs (began_at)", True),
        ("CREATE INDEX x ON prefixfleet_runs (began_at)", False),
        ("UPDATE prefixfleet_runs SET unchanged = 0", True),
        ("DELETE FROM prefixfleet_runs", True),
        ("INSERT INTO prefixfleet_runs (id) VALUES (1)", True),
        ("CREATE TRIGGER x BEFORE INSERT ON prefixfleet_runs BEGIN SELECT 1; END", True),
    ],
)
def test_what_the_check_of_additions_takes_for_breaking(statement, is_breaking):
    assert bool(find_breaking([statement], own_tables=())) == is_breaking
