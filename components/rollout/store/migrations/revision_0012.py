"""When each flow last came to its end; an index to count the ledger's entries by action."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0012"
down_revision = "0011"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the table and the index."""
    operations.create_table(
        "prefixfleet_flow_ends",
        sql.Column("flow", sql.String(32), primary_key=True),
        sql.Column("began_s", sql.Float, nullable=False),
        sql.Column("ended_s", sql.Float, nullable=False),
        sql.Column("failed_tenants", sql.Integer, nullable=False),
    )
    operations.create_index("ix_prefixfleet_ledger_action", "prefixfleet_ledger", ["action"])
