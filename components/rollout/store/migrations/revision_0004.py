"""Causes of retrainings, and the files of watched folders that were seen or taken."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0004"
down_revision = "0003"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the two tables."""
    operations.create_table(
        "prefixfleet_causes",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("id", sql.String(100), primary_key=True),
        sql.Column("kind", sql.String(16), nullable=False),
        sql.Column("why", sql.Text, nullable=False),
        sql.Column("opened_at", sql.String(32), nullable=False),
        sql.Column("tries", sql.Integer, nullable=False),
        sql.Column("tried_s", sql.Float, nullable=False),
        sql.Column("closed_at", sql.String(32), nullable=False),
        sql.Column("result", sql.Text, nullable=False),
    )
    operations.create_table(
        "prefixfleet_arrivals",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("source", sql.String(64), primary_key=True),
        sql.Column("name", sql.String(255), primary_key=True),
        sql.Column("modified", sql.String(40), nullable=False),
        sql.Column("since_s", sql.Float, nullable=False),
        sql.Column("taken", sql.String(40), nullable=False),
    )
