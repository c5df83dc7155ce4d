"""Makes and changes tables by Alembic revisions, one process at a time.

A revision is a file `revision_NNNN.py` in the folder of whoever owns the tables, with `revision`, `down_revision` and
`upgrade(operations)`. A file that was released never changes; a change of the tables is a new file. There is no way
back to an older revision. Knows no table but the one that holds the current revision.

Alembic's `env.py`, its `op` and its logging set-up are not used: they are global to the process, and MLflow uses them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from components.errors import WorkspaceError

if TYPE_CHECKING:
    from alembic.runtime.migration import RevisionStep

_UNDEFINED_TABLE = "42P01"  # PostgreSQL's code of the error
_MIGRATION_LOCK_ID = 7_312_004
_TAKE_LOCK = {"postgresql": f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK_ID})", "sqlite": "BEGIN IMMEDIATE"}
"""By dialect: the first statement of a migration's transaction, for which other processes wait."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """One owner's tables in a database, which may hold other owners' tables too."""

    folder: Path
    """Of the revisions."""
    head: str
    """The revision that the code works with: the newest in the folder."""
    version_table: str
    """Name of the table with the database's revision."""


def is_current(connection: Connection, schema: Schema) -> bool:
    """Whether the tables are at the schema's head; one query."""
    query = sql.select(sql.column("version_num", sql.String)).select_from(sql.table(schema.version_table))
    try:
        return connection.execute(query).scalars().all() == [schema.head]
    except DBAPIError as error:
        if _is_missing_table(error):
            return False
        raise


def upgrade(connection: Connection, schema: Schema) -> None:
    """Bring the tables to the schema's head within a transaction of the caller's, before any other statement of it.

    Processes that do this at the same time wait for each other; the later ones find nothing to do.

    Raises:
        WorkspaceError: a newer release has changed the tables.
    """
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext, MigrationStep
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(schema.folder, version_locations=[schema.folder])

    def list_steps(current: tuple[str, ...], _: MigrationContext) -> "Iterator[RevisionStep]":
        if unknown := set(current) - {known.revision for known in script.walk_revisions()}:
            wanted = f"tables of revision {schema.head} or older ({schema.version_table})"
            fix = "upgrade PrefixFleet: a newer release has changed these tables"
            raise WorkspaceError(wanted, f"revision {', '.join(unknown)}", fix)
        for revision in reversed(list(script.iterate_revisions(schema.head, current or "base"))):
            yield MigrationStep.upgrade_from_script(script.revision_map, revision)

    connection.exec_driver_sql(_TAKE_LOCK[connection.dialect.name])
    options = {"version_table": schema.version_table, "fn": list_steps}
    context = MigrationContext.configure(connection, opts=options)
    context.run_migrations(operations=Operations(context))


def _is_missing_table(error: DBAPIError) -> bool:
    return getattr(error.orig, "pgcode", "") == _UNDEFINED_TABLE or str(error.orig).startswith("no such table")
