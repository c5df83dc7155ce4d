"""Lets the locations in MLflow's own SQLite database follow a workspace that was moved or copied.

MLflow stores where files are as absolute URIs. A database inside the workspace is this workspace's own copy, so its
URIs below another root are rewritten to the present one, once, in one transaction. A database elsewhere and an MLflow
server may serve other workspaces too: there nothing is rewritten. The former root is read from the locations of the
experiments, which end with the database's folder relative to the root.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import yaml

from components.registry.mlflow.versions import OWNER_TAG
from components.storage.atomic_files import hold_file_lock, write_atomic
from components.storage.urls import replace_root, to_local_path
from components.storage.workspace_identity import open_identity

ARTIFACTS_FOLDER = "artifacts"

URI_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
_OWNER_QUERIES = {
    "tags": "SELECT rowid, run_uuid FROM tags WHERE key = ? AND value = ?",
    "model_version_tags": (
        "SELECT tag.rowid, owned.run_id FROM model_version_tags AS tag JOIN model_versions AS owned "
        "ON owned.name = tag.name AND owned.version = tag.version WHERE tag.key = ? AND tag.value = ?"
    ),
}
"""Table of tags -> query for the row and the run of each tag."""
_DEFAULT_DEPTH = 3  # var/mlflow/artifacts: nothing but a workspace has this
_LOCK_FILE = "var/relocation.lock"
_LOCK_WAIT_S = 60.0


def find_own_database(uri: str, workspace: Path) -> Path | None:
    """Return the SQLite file of this URI if it lies in the workspace, without symbolic links; else None."""
    path = Path(uri.removeprefix("sqlite:///")).resolve()
    return path if uri.startswith("sqlite:///") and path.is_relative_to(workspace) and path.is_file() else None


def relocate(database: Path, workspace: Path) -> None:
    """Rewrite the locations in `database`, which lies in `workspace`, if they are below another root. Idempotent.

    On a disk that cannot be written, a warning is logged, and nothing changes.

    Raises:
        sqlite3.Error: the database cannot be rewritten.
        WorkspaceError: another process rewrites it for too long; or the disk is full.
    """
    try:
        with closing(_open_read_only(database)) as connection:
            former_roots = list(_find_former_roots(connection, database, workspace))
    except sqlite3.Error:
        return  # the caller's own access reports it
    if not former_roots:
        return
    if not _is_writable(database, workspace):
        message = (
            "the locations in %s are below %s, from where the workspace was moved or copied; the disk is read-only"
        )
        logging.getLogger(__name__).warning(message, database, former_roots[0])
        return
    with (
        hold_file_lock(workspace / _LOCK_FILE, database, "try again", wait_s=_LOCK_WAIT_S),
        closing(sqlite3.connect(database, timeout=_LOCK_WAIT_S, isolation_level=None)) as connection,
    ):
        for former in list(_find_former_roots(connection, database, workspace)):
            _relocate_from(connection, former, database, workspace)


def find_present_path(uri: str, database: Path, workspace: Path) -> str:
    """Return a URI below the root of a moved workspace as one below the present root, if the file is only there."""
    path = to_local_path(uri)
    if path is None or path.exists():
        return uri
    depth = len(_find_store(database, workspace).parts)
    for above in path.parents:
        if _ends_with(above, _find_store(database, workspace)):
            moved = replace_root(uri, above.parents[depth - 1], workspace)
            moved_path = to_local_path(moved)
            return moved if moved_path is not None and moved_path.exists() else uri
    return uri


def _is_writable(database: Path, workspace: Path) -> bool:
    lock_folder = (workspace / _LOCK_FILE).parent
    places = [database, database.parent, lock_folder if lock_folder.exists() else workspace]
    return all(os.access(place, os.W_OK) for place in places)


def _relocate_from(connection: sqlite3.Connection, former: Path, database: Path, workspace: Path) -> None:
    artifacts = database.parent / ARTIFACTS_FOLDER
    for description in artifacts.glob("*/*/artifacts/model/MLmodel"):
        relocate_base(description, former, workspace)
    identity = open_identity(workspace)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, column in URI_COLUMNS:
            _rewrite_column(connection, table, column, former, workspace)
        if identity.copied_from_id:
            _rewrite_owners(connection, identity.copied_from_id, identity.id, workspace)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    message = "the workspace was moved or copied from %s: the locations in %s are now below %s"
    logging.getLogger(__name__).warning(message, former, database, workspace)


def _find_former_roots(connection: sqlite3.Connection, database: Path, workspace: Path) -> Iterator[Path]:
    """Yield the other roots at which the store of this database was, according to the experiments' locations."""
    if not _has_column(connection, "experiments", "artifact_location"):
        return
    store = _find_store(database, workspace)
    found: set[Path] = set()
    for (location,) in connection.execute("SELECT artifact_location FROM experiments ORDER BY experiment_id"):
        path = to_local_path(location or "")
        if path is None or not _ends_with(path.parent, store):
            continue
        root = path.parents[len(store.parts)]
        present = workspace / store / path.name
        is_elsewhere = path.exists() and not present.exists() and len(store.parts) < _DEFAULT_DEPTH
        if root != workspace and root not in found and not is_elsewhere and not _is_same(path, present):
            found.add(root)
            yield root


def _find_store(database: Path, workspace: Path) -> Path:
    return database.parent.relative_to(workspace) / ARTIFACTS_FOLDER


def _ends_with(path: Path, end: Path) -> bool:
    return len(path.parts) > len(end.parts) and path.parts[-len(end.parts) :] == end.parts


def _is_same(one: Path, other: Path) -> bool:
    """Return whether both are one folder under two paths, by a link or a mount."""
    return one.exists() and other.exists() and one.samefile(other)


def _rewrite_column(connection: sqlite3.Connection, table: str, column: str, former: Path, workspace: Path) -> None:
    if not _has_column(connection, table, column):
        return
    rows = connection.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()  # noqa: S608
    moved = [(_move(uri, former, workspace), row, uri) for row, uri in rows]
    changes = [(now, row) for now, row, before in moved if now != before]
    connection.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", changes)  # noqa: S608


def _move(uri: str, former: Path, workspace: Path) -> str:
    """Return a URI below the former root as one below the present root, which may be inside of the former one."""
    path = to_local_path(uri)
    is_moved = path is not None and path.is_relative_to(workspace) and workspace.is_relative_to(former)
    return uri if is_moved else replace_root(uri, former, workspace)


def _rewrite_owners(connection: sqlite3.Connection, before: str, after: str, workspace: Path) -> None:
    """Give a copy its own runs and versions, except those whose files it shares with the original."""
    own = {
        run
        for run, uri in connection.execute("SELECT run_uuid, artifact_uri FROM runs")
        if (path := to_local_path(uri or "")) is not None and path.resolve().is_relative_to(workspace)
    }
    for table, query in _OWNER_QUERIES.items():
        rows = connection.execute(query, (OWNER_TAG, before)).fetchall()
        changes = [(after, row) for row, run in rows if run in own]
        connection.executemany(f"UPDATE {table} SET value = ? WHERE rowid = ?", changes)  # noqa: S608


def relocate_base(description: Path, former: Path, workspace: Path) -> None:
    """Let the base's path in a registered model's description (MLmodel) follow a workspace that was moved or copied."""
    model = yaml.load(description.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    config = model["flavors"]["python_function"].get("config") or {}
    path = config.get("path")
    if isinstance(path, str) and _move(path, former, workspace) != path:
        config["path"] = _move(path, former, workspace)
        write_atomic(description, yaml.safe_dump(model).encode())


def _has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    return any(row[1] == column for row in connection.execute(f"PRAGMA table_info({table})"))


def _open_read_only(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=_LOCK_WAIT_S)
