"""Where MLflow keeps what a fleet has in it: the database, and the locations of artifacts as this machine reads them.

For an MLflow server, its own variables MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION say so. Reads tables
with SQL, without MLflow's client. Copies nothing.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.mlflow.connection import BACKEND_VARIABLE
from components.registry.mlflow.probe import is_server
from components.registry.mlflow.relocation import URI_COLUMNS
from components.registry.mlflow.tables import DELETED_STAGE
from components.registry.mlflow.versions import MODEL_NAME_START, OWNER_TAG
from components.storage.urls import (
    TRACKING_URI_VARIABLE,
    format_first_line,
    hide_password,
    read_tracking_uri,
    resolve_uri,
    to_local_path,
)

DESTINATION_VARIABLE = "MLFLOW_ARTIFACTS_DESTINATION"
"""MLflow's own variable for the store behind a server that passes artifacts on."""
_SERVED_SCHEME = "mlflow-artifacts"

_PATTERN = f"{MODEL_NAME_START}%"
_OWN_EXPERIMENT = "SELECT artifact_location FROM experiments WHERE name = :experiment"
_USED_EXPERIMENTS = (
    "SELECT DISTINCT e.artifact_location FROM experiments e JOIN runs r ON r.experiment_id = e.experiment_id "
    "JOIN model_versions v ON v.run_id = r.run_uuid WHERE v.name LIKE :pattern"
)
_VERSIONS = (
    "SELECT name, version, source FROM model_versions WHERE name LIKE :pattern AND current_stage <> :deleted "
    "ORDER BY name, version"
)
_DATASETS = (
    "SELECT DISTINCT value FROM model_version_tags WHERE key = 'dataset_version' AND name LIKE :pattern ORDER BY value"
)
_FIX = "start MLflow's database, or correct its address"


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """A place with artifacts of runs and versions."""

    uri: str
    """As MLflow's tables have it."""
    url: str
    """Where this machine reads it: an absolute path, s3:// or gs://."""


@dataclass(frozen=True, slots=True)
class StorePlaces:
    """What a fleet has in one MLflow."""

    locations: list[StoreLocation]
    sources: dict[str, str]
    """`<model>/<version>` -> URI of its files."""
    dataset_versions: list[str]
    """Those that registered versions were trained on."""


def find_database(config: RegistryConfig, workspace: Path) -> str:
    """Return the URL of MLflow's database, which is read without its server.

    Raises:
        RegistryError: it is behind a server, and nothing names it.
    """
    uri = resolve_uri(read_tracking_uri(config.tracking_uri), workspace)
    if not is_server(uri):
        return uri
    if backend := os.environ.get(BACKEND_VARIABLE):
        return resolve_uri(backend, workspace)
    raise RegistryError(
        "MLflow's database, to copy it",
        f"an MLflow server at {hide_password(uri)}, which has no call that copies its database",
        f"set {BACKEND_VARIABLE} to the server's database for this command (the server's --backend-store-uri, as "
        f"reached from here), and {DESTINATION_VARIABLE} to its --artifacts-destination if it has one",
    )


def read_places(database: str, experiment: str) -> StorePlaces:
    """Read where the artifacts of a fleet's runs and versions are.

    Raises:
        RegistryError: the database does not answer; or only a server can read a location, and nothing names its store.
    """
    values = {"experiment": experiment, "pattern": _PATTERN, "deleted": DELETED_STAGE}

    def read(connection: Connection, query: str) -> list[tuple[str, ...]]:
        names = {name: value for name, value in values.items() if f":{name}" in query}
        return [tuple(map(str, row)) for row in connection.execute(sql.text(query), names)]

    with _connect(database, "the places of MLflow's artifacts") as connection:
        uris = [uri for query in (_OWN_EXPERIMENT, _USED_EXPERIMENTS) for (uri,) in read(connection, query)]
        sources = {f"{name}/{version}": source for name, version, source in read(connection, _VERSIONS)}
        datasets = [value for (value,) in read(connection, _DATASETS)]
    locations = [StoreLocation(uri, _find_url(uri)) for uri in dict.fromkeys(each.rstrip("/") for each in uris)]
    return StorePlaces(locations, sources, datasets)


def rewrite_places(database: str, moves: Mapping[str, str], owners: tuple[str, str] | None) -> None:
    """Let a restored database follow its files, which are at other places than those of the original.

    `moves`: former location -> present one. `owners`: former and present owner of the workspace's versions and runs.

    Raises:
        RegistryError: the database does not answer.
    """
    with _connect(database, "the places of restored artifacts in MLflow's database") as connection:
        inspector = sql.inspect(connection)
        tables = set(inspector.get_table_names())
        for table, column in URI_COLUMNS:
            if table not in tables or column not in {one["name"] for one in inspector.get_columns(table)}:
                continue
            field = sql.column(column, sql.String)
            target = sql.table(table, field)
            for old, new in moves.items():
                is_below = sql.or_(field == old, sql.func.substr(field, 1, len(old) + 1) == f"{old}/")
                moved = sql.literal(new).concat(sql.func.substr(field, len(old) + 1))
                connection.execute(sql.update(target).where(is_below).values({column: moved}))
        if owners is not None:
            former, present = owners
            for name in ("tags", "model_version_tags"):
                tags = sql.table(name, sql.column("key", sql.String), sql.column("value", sql.String))
                is_own = sql.and_(tags.c.key == OWNER_TAG, tags.c.value == former)
                connection.execute(sql.update(tags).where(is_own).values(value=present))


def is_served(uri: str) -> bool:
    """Return whether only a server can resolve a location."""
    return urlsplit(uri).scheme == _SERVED_SCHEME


def join_served(uri: str, destination: str) -> str:
    """Return where a location that a server resolves is below the server's destination."""
    return f"{destination.rstrip('/')}/{urlsplit(uri).path.strip('/')}".rstrip("/")


def _find_url(uri: str) -> str:
    if is_served(uri):
        destination = os.environ.get(DESTINATION_VARIABLE, "")
        if not destination:
            fix = f"set {DESTINATION_VARIABLE} to the server's --artifacts-destination, as reached from here"
            raise RegistryError(f"MLflow's artifacts at {uri}, without its server", "no store that is named", fix)
        uri = join_served(uri, destination)
    path = to_local_path(uri)
    if path is not None:
        return str(path)
    if urlsplit(uri).scheme not in ("s3", "gs"):
        fix = f"copy them by hand, or use {TRACKING_URI_VARIABLE} of an MLflow whose artifacts are in such a store"
        raise RegistryError("MLflow's artifacts in a folder, s3:// or gs://", hide_password(uri), fix)
    return uri


@contextmanager
def _connect(database: str, wanted: str) -> Iterator[Connection]:
    """Yield a connection in a transaction."""
    engine = sql.create_engine(database)
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as problem:
        raise RegistryError(wanted, f"{format_first_line(problem)} ({hide_password(database)})", _FIX) from problem
    finally:
        engine.dispose()
