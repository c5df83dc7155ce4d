"""The ledger's lines store a hash chain, and SQLite refuses an insert that would replace a line or come before one.

SQLite runs no delete trigger for the line that INSERT OR REPLACE removes. On PostgreSQL the triggers of revision 0001
refuse every way to change a line.
"""

import sqlalchemy as sql
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"
kind = "expand"

_SQLITE_TRIGGERS = (
    """CREATE TRIGGER prefixfleet_ledger_no_replace BEFORE INSERT ON prefixfleet_ledger
    WHEN EXISTS (SELECT 1 FROM prefixfleet_ledger WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER prefixfleet_ledger_at_end AFTER INSERT ON prefixfleet_ledger
    WHEN NEW.id < (SELECT max(1, max(id)) FROM prefixfleet_ledger)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
)


def upgrade(operations: Operations) -> None:
    """Add the column and the triggers. Lines that are there stay as they are; the first new line covers them."""
    operations.add_column("prefixfleet_ledger", sql.Column("chain", sql.String(64), nullable=False, server_default=""))
    connection = operations.get_bind()
    if connection.dialect.name == "sqlite":
        for statement in _SQLITE_TRIGGERS:
            connection.exec_driver_sql(statement)
