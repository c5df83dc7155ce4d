"""Runs of retrainings, and what each did with its tenants."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0006"
down_revision = "0005"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the two tables."""
    operations.create_table(
        "prefixfleet_runs",
        sql.Column("id", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("began_at", sql.String(32), nullable=False),
        sql.Column("ended_at", sql.String(32), nullable=False),
        sql.Column("trigger", sql.String(200), nullable=False),
        sql.Column("by", sql.String(200), nullable=False),
        sql.Column("dataset_version", sql.String(64), nullable=False),
        sql.Column("unchanged", sql.Integer, nullable=False),
    )
    operations.create_table(
        "prefixfleet_run_tenants",
        sql.Column("run", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("result", sql.String(16), nullable=False),
        sql.Column("reason", sql.Text, nullable=False),
        sql.Column("detail", sql.Text, nullable=False),
        sql.Column("shard", sql.String(64), nullable=False),
        sql.Column("worker", sql.String(200), nullable=False),
        sql.Column("device", sql.String(200), nullable=False),
        sql.Column("began_s", sql.Float, nullable=False),
        sql.Column("ended_s", sql.Float, nullable=False),
        sql.Column("device_seconds", sql.Float, nullable=False),
    )
