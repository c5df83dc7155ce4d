"""The databases of a fleet in a backup: the rollout's, and MLflow's, which may be one. Knows no table.

The rollout's is copied first: every version that its rows name is then in the copy of MLflow's, which only gets more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.errors import BackupError
from components.registry.mlflow.store_places import find_database
from components.rollout.store.database import find_database_url
from components.stages.workspace import Workspace
from components.storage.backups.manifest import StoredFile
from components.storage.backups.sender import FileSource
from components.storage.database_copies import (
    POSTGRESQL,
    SQLITE,
    copy_database,
    find_sqlite_file,
    read_dialect,
    require_empty,
    require_programs,
)

PART = "databases"
"""First part of the names of the copies."""
ROLLOUT, MLFLOW = "rollout", "mlflow"
_SUFFIXES = {SQLITE: ".sqlite", POSTGRESQL: ".pgdump"}
_OPTIONS = {ROLLOUT: "--database", MLFLOW: "--mlflow"}
_DEFAULT_PLACES = {ROLLOUT: "var/prefixfleet.db", MLFLOW: "var/mlflow/mlflow.db"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """A copy of a database, as the manifest describes it."""

    name: str
    """Of the copy among the backup's files."""
    holds: Sequence[str]
    """`rollout`, `mlflow`, or both."""
    dialect: str
    place: str
    """SQLite: the file in the workspace; "": it was elsewhere."""


class FleetDatabases:
    """Where a workspace's databases are."""

    def __init__(self, workspace: Workspace) -> None:
        """Find them, and check that they can be copied.

        Raises:
            RegistryError: MLflow's is behind a server, and nothing names it.
            WorkspaceError: it is neither SQLite nor PostgreSQL, or pg_dump is missing.
        """
        config, root = workspace.params.registry, workspace.root
        self.urls = {ROLLOUT: find_database_url(config, root), MLFLOW: find_database(config, root)}
        dialects = {read_dialect(url) for url in self.urls.values()}
        if POSTGRESQL in dialects:
            require_programs("pg_dump")
        self._root = root

    def copy(self, scratch: Path) -> list[tuple[DatabaseFacts, FileSource]]:
        """Copy the rollout's, then MLflow's, into a folder. Raises WorkspaceError."""
        copies = []
        for url in dict.fromkeys(self.urls.values()):
            holds = [name for name, one in self.urls.items() if one == url]
            dialect = read_dialect(url)
            name = f"{PART}/{'-'.join(holds)}{_SUFFIXES[dialect]}"
            path = scratch / Path(name).name
            copy_database(url, path)
            facts = DatabaseFacts(name=name, holds=holds, dialect=dialect, place=self._find_place(url, dialect))
            copies.append((facts, FileSource(name, path)))
        return copies

    def _find_place(self, url: str, dialect: str) -> str:
        path = find_sqlite_file(url).resolve() if dialect == SQLITE else None
        return str(path.relative_to(self._root)) if path is not None and path.is_relative_to(self._root) else ""


def choose_targets(
    databases: Sequence[DatabaseFacts], files: dict[str, StoredFile], folder: Path, given: dict[str, str | None]
) -> dict[str, str]:
    """Return where a restore puts each copy: name -> URL. PostgreSQL's need an empty database in `given`.

    Raises:
        BackupError: a database is missing in `given`, is not needed, or its copy is not in the backup.
        WorkspaceError: a database does not answer or is not empty, or pg_restore is missing.
    """
    targets: dict[str, str] = {}
    unused = {name: url for name, url in given.items() if url is not None}
    for one in databases:
        if one.name not in files:
            raise BackupError(f"the copy {one.name} in the backup", "none", "choose another backup")
        if one.dialect == SQLITE:
            targets[one.name] = f"sqlite:///{folder / (one.place or _DEFAULT_PLACES[one.holds[-1]])}"
            continue
        urls = {url for name, url in given.items() if name in one.holds and url is not None}
        options = " or ".join(_OPTIONS[name] for name in one.holds)
        wanted = f"an empty PostgreSQL database for the copy of the {' and the '.join(one.holds)} database"
        if len(urls) != 1:
            got = "two different ones for one copy" if urls else f"no {options}"
            raise BackupError(wanted, got, f"name one: {options} postgresql://user@host/name")
        targets[one.name] = urls.pop()
        unused = {name: url for name, url in unused.items() if name not in one.holds}
    if unused:
        got = f"{_OPTIONS[next(iter(unused))]}, but that copy is of SQLite"
        raise BackupError("options that this backup needs", got, "leave the option out: it is restored into the folder")
    servers = [url for url in targets.values() if read_dialect(url) == POSTGRESQL]
    if servers:
        require_programs("pg_restore")
    for url in servers:
        require_empty(url)
    return targets
