"""Answers that accept feedback at every server, and the opinions on them that were counted."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0008"
down_revision = "0007"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the two tables."""
    operations.create_table(
        "prefixfleet_answers",
        sql.Column("id", sql.String(64), primary_key=True),
        sql.Column("tenant", sql.String(63), nullable=False, index=True),
        sql.Column("version", sql.String(20), nullable=False),
        sql.Column("arm", sql.String(16), nullable=False),
        sql.Column("at_s", sql.Float, nullable=False, index=True),
        sql.Column("section", sql.BigInteger),
        sql.Column("place", sql.BigInteger),
        sql.Column("content", sql.Text, nullable=False),
    )
    operations.create_table(
        "prefixfleet_counted_opinions",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("request", sql.String(200), primary_key=True),
        sql.Column("choice", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("at", sql.String(32), nullable=False),
    )
