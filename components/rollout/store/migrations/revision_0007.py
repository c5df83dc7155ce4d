"""How many tokens a run trained each tenant on."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0007"
down_revision = "0006"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Add the column; of earlier runs the number is unknown, and 0."""
    column = sql.Column("training_tokens", sql.BigInteger, nullable=False, server_default="0")
    operations.add_column("prefixfleet_run_tenants", column)
