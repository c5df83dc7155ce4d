"""Copies of whole databases: SQLite by its backup API, PostgreSQL by pg_dump and pg_restore. Knows no table.

Both copy one moment of the database while others write to it.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import sqlalchemy as sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from components.errors import WorkspaceError
from components.storage.atomic_files import convert_disk_errors
from components.storage.urls import format_first_line, hide_password

SQLITE, POSTGRESQL = "sqlite", "postgresql"

_LOCK_WAIT_S = 60.0
_CONNECT_S = 10
_FIX = "check the database's address, and that it runs"
_INSTALL = "install PostgreSQL's client, of the server's version or newer (Debian: apt-get install postgresql-client)"


def read_dialect(url: str) -> str:
    """Return `sqlite` or `postgresql`.

    Raises:
        WorkspaceError: it is the URL of another database, or of none.
    """
    dialect = url.split(":")[0].split("+")[0]
    if dialect not in (SQLITE, POSTGRESQL):
        got, fix = hide_password(url), "copy it with the means of that database"
        raise WorkspaceError("a database that can be copied: SQLite or PostgreSQL", got, fix)
    return dialect


def find_sqlite_file(url: str) -> Path:
    """Return the file of an SQLite URL."""
    return Path(make_url(url).database or "")


def copy_database(url: str, path: Path) -> None:
    """Write a copy of a database into a new file, and check it.

    Raises:
        WorkspaceError: the database is missing or damaged or does not answer, pg_dump is missing or fails, or the disk
            is full.
    """
    if read_dialect(url) == SQLITE:
        with convert_disk_errors(f"write {path}"):
            _copy_sqlite(find_sqlite_file(url), path)
        return
    address, environment = _make_address(url)
    schema = [f"--schema={name}" for name in _list_schemas(make_url(url))]
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={path}"]
    _run("pg_dump", [*options, *schema, f"--dbname={address}"], environment, f"a copy of {hide_password(url)}")


def restore_database(copy: Path, url: str) -> None:
    """Fill an empty PostgreSQL database from a copy, whole or not at all; SQLite's copies are files to put in place.

    Raises:
        WorkspaceError: pg_restore is missing or fails.
    """
    address, environment = _make_address(url)
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", [*options, f"--dbname={address}", str(copy)], environment, f"to fill {hide_password(url)}")


def require_programs(*names: str) -> None:
    """Raise WorkspaceError if one of PostgreSQL's programs is not on PATH."""
    for name in names:
        if shutil.which(name) is None:
            raise WorkspaceError(f"PostgreSQL's program {name}", f"no {name} on PATH", _INSTALL)


def require_empty(url: str) -> None:
    """Check that a PostgreSQL database answers and has no tables.

    Raises:
        WorkspaceError: it is none, does not answer, or has tables.
    """
    wanted = "an empty PostgreSQL database"
    if read_dialect(url) != POSTGRESQL:
        raise WorkspaceError(wanted, hide_password(url), "name one, as postgresql://user:password@host/name")
    engine = sql.create_engine(url, connect_args={"connect_timeout": _CONNECT_S})
    try:
        with engine.connect() as connection:
            tables = sql.inspect(connection).get_table_names()
    except SQLAlchemyError as problem:
        raise WorkspaceError(wanted, f"{format_first_line(problem)} ({hide_password(url)})", _FIX) from problem
    finally:
        engine.dispose()
    if tables:
        got = f"{len(tables)} tables in {hide_password(url)}, such as {tables[0]}"
        raise WorkspaceError(wanted, got, "make another database (CREATE DATABASE), and name that")


def _copy_sqlite(source: Path, path: Path) -> None:
    wanted = f"a copy of {source}"
    if not source.is_file():
        raise WorkspaceError(wanted, "no such file", "check the database's path")
    with (
        _convert_sqlite_errors(wanted),
        closing(sqlite3.connect(source, timeout=_LOCK_WAIT_S)) as original,
        closing(sqlite3.connect(path)) as copy,
    ):
        original.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, which needs no log beside it
        problem = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise WorkspaceError(wanted, f"a damaged database: {problem}", "restore it from an earlier backup")


@contextmanager
def _convert_sqlite_errors(wanted: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        fix = "free space on the disk and run again, or repair the database"
        raise WorkspaceError(wanted, str(problem), fix) from problem


def _make_address(url: str) -> tuple[str, dict[str, str]]:
    """Return libpq's URL without the password, which others could see in the list of processes, and an environment."""
    parsed = make_url(url)
    address = URL.create(
        POSTGRESQL, parsed.username, None, parsed.host, parsed.port, parsed.database, parsed.query
    ).render_as_string(hide_password=False)
    secret = {"PGPASSWORD": str(parsed.password)} if parsed.password is not None else {}
    return address, {**os.environ, "PGCONNECT_TIMEOUT": str(_CONNECT_S), "LC_ALL": "C", **secret}


def _list_schemas(url: URL) -> list[str]:
    """Return the schemas in the URL's `options=-csearch_path=...`; none: the copy is of the whole database."""
    options = str(url.query.get("options", ""))
    found = parse_qs(options.replace("-csearch_path", "search_path").replace("-c search_path", "search_path"))
    return [name.strip() for value in found.get("search_path", []) for name in value.split(",")]


def _run(program: str, arguments: list[str], environment: dict[str, str], wanted: str) -> None:
    require_programs(program)
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        got = hide_password((lines or [f"exit code {done.returncode}"])[0])
        fix = _INSTALL if "version mismatch" in done.stderr else f"correct what {program} names, and run again"
        raise WorkspaceError(wanted, got, fix)
