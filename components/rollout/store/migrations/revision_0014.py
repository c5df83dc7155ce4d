"""Deliveries of events; from where a line of the ledger was made; scores, code and base of runs."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0014"
down_revision = "0013"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the table, and add the columns."""
    operations.create_table(
        "prefixfleet_deliveries",
        sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("target", sql.String(63), nullable=False),
        sql.Column("event", sql.String(40), nullable=False),
        sql.Column("type", sql.String(40), nullable=False),
        sql.Column("tenant", sql.String(63), nullable=False, index=True),
        sql.Column("payload", sql.Text, nullable=False),
        sql.Column("created_s", sql.Float, nullable=False),
        sql.Column("next_try_s", sql.Float, nullable=False),
        sql.Column("tries", sql.Integer, nullable=False),
        sql.Column("problem", sql.Text, nullable=False),
        sql.Column("state", sql.String(16), nullable=False),
    )
    operations.create_index(
        "ix_prefixfleet_deliveries_due", "prefixfleet_deliveries", ["state", "target", "next_try_s"]
    )
    operations.add_column(
        "prefixfleet_ledger", sql.Column("origin", sql.String(200), nullable=False, server_default="")
    )
    for name in ("code_version", "base_digest"):
        operations.add_column("prefixfleet_runs", sql.Column(name, sql.String(100), nullable=False, server_default=""))
    for name in ("bleu_before", "bleu_after", "rouge_before", "rouge_after"):
        operations.add_column("prefixfleet_run_tenants", sql.Column(name, sql.Float))
    operations.add_column(
        "prefixfleet_run_tenants", sql.Column("compared_with", sql.String(40), nullable=False, server_default="")
    )
