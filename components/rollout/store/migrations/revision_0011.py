"""Which ended fine-tuning jobs the receiver of notices knows."""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0011"
down_revision = "0010"
kind = "expand"


def upgrade(operations: Operations) -> None:
    """Make the table."""
    operations.create_table(
        "prefixfleet_tuning_notices",
        sql.Column("job", sql.String(40), primary_key=True),
        sql.Column("tenant", sql.String(63), nullable=False),
        sql.Column("told_s", sql.Float, nullable=False),
    )
