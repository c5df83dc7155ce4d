"""Makes and changes tables by Alembic revisions, one process at a time, while other processes use the tables.

A revision is a file `revision_NNNN.py` in the folder of whoever owns the tables, with `revision` (its number of four
digits: their order is that of the texts), `down_revision`, `kind` and `upgrade(operations)`. A file that was released
never changes; a change of the tables is a new file. There is no way back to an older revision.

A revision of the kind `expand` only adds, so code that does not know it goes on with the tables; whoever opens the
database first applies it. One of the kind `contract` removes or changes what older code uses, and is applied only on
demand. It names, as `oldest_code`, the oldest head whose code works without what it removes. The database stores this,
and older code refuses to open it.

Knows no table but the two that hold the current revision and the oldest code. Alembic's `env.py`, its `op` and its
logging set-up are not used: they are global to the process, and MLflow uses them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from components.errors import WorkspaceError

if TYPE_CHECKING:
    from alembic.runtime.migration import RevisionStep
    from alembic.script import Script, ScriptDirectory

Kind = Literal["expand", "contract"]

_UNDEFINED_TABLE = "42P01"  # PostgreSQL's codes of errors
_REFUSED_LOCK_CODES = ("55P03", "40P01")
_MIGRATION_LOCK_ID = 7_312_004
_TAKE_LOCK = {"postgresql": f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK_ID})", "sqlite": "BEGIN IMMEDIATE"}
"""By dialect: the first statement of a migration's transaction, for which other processes wait."""
_LIMIT_TABLE_LOCKS = "SET LOCAL lock_timeout = '2s'"
"""PostgreSQL: while a change of a table waits for its lock, all later statements on the table wait behind it."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """One owner's tables in a database, which may hold other owners' tables too."""

    folder: Path
    """Of the revisions."""
    head: str
    """The newest revision in the folder."""
    needs: str = ""
    """The revision that the code works with: the newest that expands. "": the head."""
    version_table: str
    """Name of the table with the database's revision."""

    @property
    def oldest_code_table(self) -> str:
        """Name of the table with the oldest head whose code works with the tables."""
        return f"{self.version_table}_oldest_code"


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision that a database does not have."""

    id: str
    kind: Kind
    what: str
    """The first sentence of its docstring."""


def is_usable(connection: Connection, schema: Schema) -> bool:
    """Whether the code can use the tables as they are; False: it must bring them to its own revision first.

    One query, unless a newer release has changed the tables.

    Raises:
        WorkspaceError: a newer release has removed what this code uses.
    """
    try:
        revision = _read_value(connection, schema.version_table, "version_num")
    except DBAPIError as error:
        if _is_missing_table(error):
            return False
        raise
    return _can_use(connection, schema, revision)


def read_revision(connection: Connection, schema: Schema) -> str | None:
    """Return the tables' revision; None: there are none, or they were made by a release before revisions."""
    return _read_if_present(connection, schema.version_table, "version_num")


def list_pending(connection: Connection, schema: Schema) -> list[Revision]:
    """Return the revisions that the database does not have, in their order; none if a newer release made its tables."""
    return [_describe(one) for one in _list_later(schema, read_revision(connection, schema))]


def upgrade_once(connection: Connection, schema: Schema, *, contract: bool) -> str | None:
    """Apply the next revision within a transaction of the caller's, before any other statement of it.

    Processes that do this at the same time wait for each other; the later ones find nothing to do.

    Returns:
        Its id; None: there is nothing to do, or without `contract` only revisions that contract.

    Raises:
        WorkspaceError: without `contract`, one that contracts comes before one that the code needs; or the tables
            cannot be used, as in `is_usable`.
        sqlalchemy.exc.DBAPIError: see `is_refused_lock`.
    """
    connection.exec_driver_sql(_TAKE_LOCK[connection.dialect.name])
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_LIMIT_TABLE_LOCKS)
    revision = read_revision(connection, schema)
    if _can_use(connection, schema, revision) and not contract:
        return None
    pending = _list_later(schema, revision)
    if not pending:
        return None
    if pending[0].module.kind == "contract" and not contract:
        wanted = f"tables of revision {schema.needs or schema.head} ({schema.version_table})"
        got = f"revision {revision}; the next one, {pending[0].revision}, removes what older releases use"
        fix = "stop everything of older releases, then run `prefixfleet upgrade --tables --contract`"
        raise WorkspaceError(wanted, got, fix)
    _apply(connection, schema, pending[0])
    return str(pending[0].revision)


def is_refused_lock(error: BaseException | None) -> bool:
    """Whether a migration failed because others used the tables for too long: then it can be tried again."""
    if not isinstance(error, DBAPIError):
        return False
    return getattr(error.orig, "pgcode", "") in _REFUSED_LOCK_CODES or "database is locked" in str(error.orig)


def _can_use(connection: Connection, schema: Schema, revision: str | None) -> bool:
    if revision is None or revision <= schema.head:
        return revision is not None and revision >= (schema.needs or schema.head)
    oldest = _read_if_present(connection, schema.oldest_code_table, "revision")
    if oldest is not None and oldest <= schema.head:
        return True
    wanted = f"tables that code of revision {schema.head} can use ({schema.version_table})"
    needs = "" if oldest is None else f", for code of revision {oldest} or newer"
    fix = "upgrade PrefixFleet: a newer release has changed these tables"
    raise WorkspaceError(wanted, f"revision {revision}{needs}", fix)


def _apply(connection: Connection, schema: Schema, script: "Script") -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext, MigrationStep

    def list_steps(_: tuple[str, ...], __: MigrationContext) -> "Iterator[RevisionStep]":
        yield MigrationStep.upgrade_from_script(_open_scripts(schema).revision_map, script)

    options = {"version_table": schema.version_table, "fn": list_steps}
    context = MigrationContext.configure(connection, opts=options)
    context.run_migrations(operations=Operations(context))
    _write_oldest_code(connection, schema, script)


def _write_oldest_code(connection: Connection, schema: Schema, script: "Script") -> None:
    """Store the oldest code after a revision that contracts, and the first code of all with the first revision."""
    known = _read_if_present(connection, schema.oldest_code_table, "revision")
    if script.module.kind == "contract":
        oldest = str(script.module.oldest_code)
    elif known is None:
        oldest = str(_list_later(schema, None)[0].revision)
    else:
        return
    table = sql.Table(
        schema.oldest_code_table, sql.MetaData(), sql.Column("revision", sql.String(32), primary_key=True)
    )
    table.create(connection, checkfirst=True)
    connection.execute(sql.delete(table))
    connection.execute(sql.insert(table).values(revision=oldest))


@lru_cache(maxsize=4)
def _open_scripts(schema: Schema) -> "ScriptDirectory":
    """Read the revisions' files once: a new database asks for them at each of its revisions."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(schema.folder, version_locations=[schema.folder])


def _list_later(schema: Schema, revision: str | None) -> "list[Script]":
    """Return the revisions after this one, or all, up to the head, the oldest first."""
    if revision is not None and revision >= schema.head:
        return []
    return list(_open_scripts(schema).iterate_revisions(schema.head, revision or "base"))[::-1]


def _describe(script: "Script") -> Revision:
    return Revision(script.revision, script.module.kind, script.doc)


def _read_if_present(connection: Connection, table: str, column: str) -> str | None:
    """Return the value of a table with one row; None: there is no such table, or no row."""
    if not sql.inspect(connection).has_table(table):  # a statement that fails would end PostgreSQL's transaction
        return None
    return _read_value(connection, table, column)


def _read_value(connection: Connection, table: str, column: str) -> str | None:
    query = sql.select(sql.column(column, sql.String)).select_from(sql.table(table))
    return connection.execute(query).scalars().first()


def _is_missing_table(error: DBAPIError) -> bool:
    return getattr(error.orig, "pgcode", "") == _UNDEFINED_TABLE or str(error.orig).startswith("no such table")
