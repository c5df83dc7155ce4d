"""The hash chain over the ledger's lines, by which a changed, inserted or removed line is found.

Each line stores the SHA-256 of itself and of the value of the line before, over all tenants in the order of ids. Lines
of releases without the chain store none; the first line with a value covers them. A change of a line and of all later
values is only found by a value that was kept elsewhere; so is the removal of the last lines.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import LEDGER
from components.storage.database import Database

_START = ""
_CHAINED_COLUMNS = ("at", "tenant", "by", "action", "from_version", "to_version", "why", "figures")
_ROWS_PER_FETCH = 10_000
_POSTGRESQL_LOCK = 7_312_005
"""Of the ledger's end: held from the read of the last value to the commit."""
_TRIGGERS = {
    "sqlite": ("no_update", "no_delete", "no_replace", "at_end"),
    "postgresql": ("append_only",),
}
_FIND_TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'prefixfleet_ledger'",
    "postgresql": (
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'prefixfleet_ledger'::regclass AND tgenabled IN ('O', 'A')"
    ),
}


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """The first line that does not continue the chain."""

    id: int
    at: str
    tenant: str
    action: str
    why: str
    """What is wrong, as a phrase."""


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """The result of a check of the whole ledger."""

    lines: int
    """Lines that continue the chain, before the broken one if there is one."""
    unchained: int
    """Of these, the lines of releases without the chain."""
    value: str
    """The last line's value; "": no line has one."""
    broken: BrokenLine | None
    missing_triggers: tuple[str, ...] = ()
    """Triggers that refuse changes of lines, and that are no longer in the database."""


def chain_rows(connection: Connection, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ledger rows with their values, to be inserted in this transaction; other writers wait until its end."""
    _lock_end(connection)
    value, chained = _read_last_value(connection), []
    for row in rows:
        value = _extend(value, row)
        chained.append({**row, "chain": value})
    return chained


def check_chain(database: Database) -> ChainCheck:
    """Compute the chain over all lines, and compare. Raises WorkspaceError: the database does not answer."""
    value, lines, unchained, last = _START, 0, 0, ""
    with database.connect("the ledger") as connection:
        missing = _find_missing_triggers(connection)
        rows = connection.execution_options(yield_per=_ROWS_PER_FETCH).execute(sql.select(LEDGER).order_by(LEDGER.c.id))
        for row in rows.mappings():
            value = _extend(value, row)
            if reason := _explain_break(row["chain"], value, last, unchained):
                broken = BrokenLine(row["id"], row["at"], row["tenant"], row["action"], reason)
                return ChainCheck(lines, unchained, last, broken, missing)
            lines, unchained = lines + 1, unchained + (not row["chain"])
            last = row["chain"]
    return ChainCheck(lines, unchained, last, None, missing)


def _explain_break(stored: str, computed: str, last: str, unchained: int) -> str:
    if stored == computed or not (stored or last):
        return ""
    if not stored:
        return "it has no value, so it was not written by this release"
    if not last and unchained:
        return f"it, or one of the {unchained} lines before it, was changed or removed after it was written"
    return "it was changed, or a line before it was removed or inserted"


def _extend(value: str, row: Mapping[Any, Any]) -> str:
    cells = [value, *(row[name] for name in _CHAINED_COLUMNS)]
    if row["origin"]:  # lines of releases without the column have the values that those releases computed
        cells.append(row["origin"])
    content = json.dumps(cells, default=repr)  # bytes: a changed line
    return hashlib.sha256(content.encode()).hexdigest()


def _find_missing_triggers(connection: Connection) -> tuple[str, ...]:
    dialect = connection.dialect.name
    present = set(connection.exec_driver_sql(_FIND_TRIGGERS[dialect]).scalars())
    wanted = (f"prefixfleet_ledger_{name}" for name in _TRIGGERS[dialect])
    return tuple(name for name in wanted if name not in present)


def _lock_end(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
    elif not connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # else an earlier write of this transaction holds the lock


def _read_last_value(connection: Connection) -> str:
    """Return the value that the next line continues."""
    last = connection.execute(sql.select(LEDGER).order_by(LEDGER.c.id.desc()).limit(1)).mappings().first()
    if last is None or last["chain"]:
        return last["chain"] if last else _START
    value = _START
    for row in connection.execute(sql.select(LEDGER).order_by(LEDGER.c.id)).mappings():
        value = _extend(value, row)
    return value
