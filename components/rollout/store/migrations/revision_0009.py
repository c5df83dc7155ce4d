"""The tenants' quotas, and the servers that share them."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0009"
down_revision = "0008"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the two tables."""
    operations.create_table(
        "prefixfleet_quotas",
        sql.Column("tenant", sql.String(63), primary_key=True),
        sql.Column("unit", sql.String(16), primary_key=True),
        sql.Column("level", sql.Float, nullable=False),
        sql.Column("filled_s", sql.Float, nullable=False),
    )
    operations.create_table(
        "prefixfleet_servers",
        sql.Column("id", sql.String(32), primary_key=True),
        sql.Column("seen_s", sql.Float, nullable=False),
    )
