"""Feedback keeps who sent it, once per choice and key, and the digest of the training line that it became.

Feedback that an older release saved has no key, so it is never replaced.
"""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"
kind = "expand"

_TABLE = "prefixfleet_feedback"
_IS_WAITING = sql.and_(
    sql.column("delivered", sql.Boolean).is_(False),
    sql.column("corrected", sql.Text).is_not(None),
    sql.column("source", sql.Text).is_not(None),
)


def upgrade(operations: Operations) -> None:
    """Add the columns and their indexes."""
    for column in (
        sql.Column("choice", sql.Integer, nullable=False, server_default="0"),
        sql.Column("key_id", sql.String(16)),
        sql.Column("end_user", sql.String(512)),
        sql.Column("line_sha256", sql.String(64)),
    ):
        operations.add_column(_TABLE, column)
    operations.create_index(f"ux_{_TABLE}_choice", _TABLE, ["tenant", "request", "choice", "key_id"], unique=True)
    name = f"ix_{_TABLE}_waiting"
    operations.create_index(name, _TABLE, ["tenant"], sqlite_where=_IS_WAITING, postgresql_where=_IS_WAITING)
