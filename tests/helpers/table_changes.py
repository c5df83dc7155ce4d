"""What the statements of a migration do to tables that were there before it: only additions keep older code working."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql

_NAME = r'"?(\w+)"?'
_READING = re.compile(r"(SELECT|PRAGMA|WITH|SET LOCAL|BEGIN|SHOW)\b", re.IGNORECASE)
_MAKE_TABLE = re.compile(rf"CREATE TABLE (?:IF NOT EXISTS )?{_NAME}", re.IGNORECASE)
_ADD_COLUMN = re.compile(rf"ALTER TABLE {_NAME} ADD COLUMN {_NAME} (.*)", re.IGNORECASE | re.DOTALL)
_MAKE_INDEX = re.compile(rf"CREATE (UNIQUE )?INDEX (?:IF NOT EXISTS )?{_NAME} ON {_NAME} \((.*?)\)", re.IGNORECASE)
_INSERT = re.compile(rf"INSERT INTO {_NAME}", re.IGNORECASE)
_MAKE_TRIGGER = re.compile(r"CREATE (?:OR REPLACE )?(TRIGGER|FUNCTION)\b", re.IGNORECASE)


@contextmanager
def record_statements() -> Iterator[list[str]]:
    """Yields the list of all statements that SQLAlchemy sends in the block."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(" ".join(statement.split()))

    sql.event.listen(sql.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sql.event.remove(sql.Engine, "before_cursor_execute", note)


def find_breaking(statements: Iterable[str], *, own_tables: Iterable[str], may_add_triggers: bool = False) -> list[str]:
    """Return the statements of one revision that may break code of the revision before.

    Allowed are: new tables and what fills them; new columns that may be left out of an insert; new indexes, unique
    ones only with a new column that is empty in the rows of older code. `own_tables` are those of the migrations.
    """
    made, added, breaking = set(own_tables), set[tuple[str, str]](), []
    for statement in statements:
        if _READING.match(statement):
            continue
        if found := _MAKE_TABLE.match(statement):
            made.add(found[1])
        elif found := _ADD_COLUMN.match(statement):
            added.add((found[1], found[2]))
            if "NOT NULL" in found[3].upper() and "DEFAULT" not in found[3].upper():
                breaking.append(statement)
        elif found := _MAKE_INDEX.match(statement):
            columns = {column.strip(' "') for column in found[4].split(",")}
            is_new = found[3] in made or any((found[3], column) in added for column in columns)
            if found[1] and not is_new:
                breaking.append(statement)
        elif _MAKE_TRIGGER.match(statement):
            if not may_add_triggers:
                breaking.append(statement)
        elif not ((found := _INSERT.match(statement)) and found[1] in made) and not any(
            re.match(rf"(UPDATE|DELETE FROM) {re.escape(name)}\b", statement) for name in own_tables
        ):
            breaking.append(statement)
    return breaking
