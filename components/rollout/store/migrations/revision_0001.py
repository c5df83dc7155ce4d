"""The tables of the first release, with the triggers that keep the ledger append-only.

That release made them without Alembic, and recorded no revision. In such a database every statement here finds what it
would make, changes nothing, and revision 0001 is recorded.
"""

from typing import Any

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0001"
down_revision = None
kind = "expand"

_COUNTS = ("requests", "errors", "empty", "repeated", "over_long", "tokens", "agreed", "liked", "disliked")
_REFUSAL = "the ledger is append-only"
_TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER IF NOT EXISTS prefixfleet_ledger_no_update BEFORE UPDATE ON prefixfleet_ledger "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
        "CREATE TRIGGER IF NOT EXISTS prefixfleet_ledger_no_delete BEFORE DELETE ON prefixfleet_ledger "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION prefixfleet_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
        "CREATE OR REPLACE TRIGGER prefixfleet_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
        "ON prefixfleet_ledger FOR EACH STATEMENT EXECUTE FUNCTION prefixfleet_ledger_refuse()",
    ),
}


def upgrade(operations: Operations) -> None:
    """Make the tables and triggers that are missing."""
    _make_decisions(operations)
    _make_observations(operations)
    connection = operations.get_bind()
    for statement in _TRIGGERS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def _make_decisions(operations: Operations) -> None:
    _make_table(
        operations,
        "prefixfleet_ledger",
        sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("at", sql.String(32), nullable=False),
        sql.Column("tenant", sql.String(63), nullable=False),
        sql.Column("by", sql.String(200), nullable=False),
        sql.Column("action", sql.String(32), nullable=False),
        sql.Column("from_version", sql.String(20), nullable=False),
        sql.Column("to_version", sql.String(20), nullable=False),
        sql.Column("why", sql.Text, nullable=False),
        sql.Column("figures", sql.Text, nullable=False),
    )
    _make_tenant_index(operations, "prefixfleet_ledger")
    _make_table(
        operations,
        "prefixfleet_standings",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("champion", sql.String(20), nullable=False),
        sql.Column("challenger", sql.String(20), nullable=False),
        sql.Column("mode", sql.String(16), nullable=False),
        sql.Column("step", sql.Integer, nullable=False),
        sql.Column("share", sql.Float, nullable=False),
        sql.Column("started_s", sql.Float, nullable=False),
        sql.Column("step_started_s", sql.Float, nullable=False),
        sql.Column("changes", sql.Text, nullable=False),
        sql.Column("paused_s", sql.Float, nullable=False),
        sql.Column("pinned", sql.Boolean, nullable=False),
    )
    _make_table(
        operations,
        "prefixfleet_intents",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("standing", sql.Text, nullable=False),
        sql.Column("entry", sql.Text, nullable=False),
    )
    _make_table(
        operations,
        "prefixfleet_untold",
        sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("tenant", sql.String(63), nullable=False),
        sql.Column("entry", sql.Text, nullable=False),
    )
    _make_table(
        operations,
        "prefixfleet_judged",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("trial", sql.String(100), nullable=False),
        sql.Column("seen", sql.BigInteger, nullable=False),
        sql.Column("findings", sql.Text, nullable=False),
    )


def _make_observations(operations: Operations) -> None:
    counts = (sql.Column(name, sql.BigInteger, nullable=False) for name in _COUNTS)
    _make_table(operations, "prefixfleet_seen", *_make_key_columns(), *counts)
    _make_table(
        operations,
        "prefixfleet_seen_latencies",
        *_make_key_columns(),
        sql.Column("bucket", sql.Integer, primary_key=True),
        sql.Column("answers", sql.BigInteger, nullable=False),
    )
    _make_table(
        operations,
        "prefixfleet_counted",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("section", sql.BigInteger, primary_key=True, autoincrement=False),
        sql.Column("kind", sql.String(16), primary_key=True),
        sql.Column("place", sql.BigInteger, primary_key=True, autoincrement=False),
    )
    _make_table(
        operations,
        "prefixfleet_feedback",
        sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("at", sql.String(32), nullable=False),
        sql.Column("tenant", sql.String(63), nullable=False),
        sql.Column("version", sql.String(20), nullable=False),
        sql.Column("arm", sql.String(16), nullable=False),
        sql.Column("request", sql.String(200), nullable=False),
        sql.Column("rating", sql.Float),
        sql.Column("source", sql.Text),
        sql.Column("corrected", sql.Text),
        sql.Column("delivered", sql.Boolean, nullable=False),
    )
    _make_tenant_index(operations, "prefixfleet_feedback")


def _make_key_columns() -> list[sql.Column[Any]]:
    return [
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("version", sql.String(20), primary_key=True),
        sql.Column("arm", sql.String(16), primary_key=True),
        sql.Column("minute", sql.Integer, primary_key=True),
        sql.Column("section", sql.BigInteger, primary_key=True),
    ]


def _make_table(operations: Operations, name: str, *columns: sql.Column[Any]) -> None:
    operations.create_table(name, *columns, if_not_exists=True)


def _make_tenant_index(operations: Operations, table: str) -> None:
    operations.create_index(f"ix_{table}_tenant", table, ["tenant"], if_not_exists=True)
