"""Counts of the inputs that servers got, and profiles of the training inputs that they are compared with."""

from typing import Any

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0005"
down_revision = "0004"
kind = "expand"

_COUNTS = ("inputs", "words", "unknown_words", "fields", "unknown_fields")


def upgrade(operations: Operations) -> None:
    """Make the three tables."""
    operations.create_table(
        "prefixfleet_input_profiles",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("sha256", sql.String(64), primary_key=True),
        sql.Column("profile", sql.Text, nullable=False),
    )
    operations.create_table(
        "prefixfleet_inputs",
        *_make_key(),
        *(sql.Column(name, sql.BigInteger, nullable=False) for name in _COUNTS),
    )
    operations.create_table(
        "prefixfleet_input_lengths",
        *_make_key(),
        sql.Column("bucket", sql.Integer, primary_key=True),
        sql.Column("inputs", sql.BigInteger, nullable=False),
    )


def _make_key() -> list[sql.Column[Any]]:
    return [
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("sha256", sql.String(64), primary_key=True),
        sql.Column("hour", sql.Integer, primary_key=True),
    ]
