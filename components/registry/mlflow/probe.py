"""Checks with a short timeout that an MLflow server or database answers, and sets SQLite's journal mode.

MLflow's own client would retry for minutes. Knows addresses; does not know MLflow's client.
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

_CONNECT_SECONDS = 5


def is_server(uri: str) -> bool:
    """Return whether the address is a server's and not a database's."""
    return urlsplit(uri).scheme in ("http", "https")


def probe_address(uri: str) -> None:
    """Open the address once with a short timeout. Raises the errors of requests or SQLAlchemy."""
    if is_server(uri):
        import requests

        requests.get(f"{uri.rstrip('/')}/health", timeout=_CONNECT_SECONDS)
    else:
        _probe_database(uri)


def enable_write_ahead_log(uri: str) -> None:
    """Switch an SQLite file to write-ahead logging, permanently.

    A commit then takes a quarter of the time, and readers do not block.
    """
    path = uri.removeprefix("sqlite:///")
    if path == uri or not Path(path).is_file():
        return
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=1)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def _probe_database(uri: str) -> None:
    """Open a database once, without MLflow's ten retries; a missing SQLite file is no error: MLflow creates it."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    scheme = uri.split(":")[0].split("+")[0]
    if scheme not in ("sqlite", "postgresql", "mysql"):
        return
    url = make_url(uri)
    if scheme == "sqlite" and not (url.database and Path(url.database).exists()):
        return
    limit = {"timeout" if scheme == "sqlite" else "connect_timeout": _CONNECT_SECONDS}
    engine = create_engine(url, connect_args=limit)
    try:
        with engine.connect() as opened:
            if scheme == "sqlite":
                opened.exec_driver_sql("PRAGMA schema_version")
    finally:
        engine.dispose()
