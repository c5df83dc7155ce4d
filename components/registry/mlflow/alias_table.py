"""Reads the aliases of the whole fleet from MLflow's own tables: one query, fast enough for every other second.

MLflow's search for models takes seconds for a thousand of them. A test compares the result with MLflow's own search.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.registry.mlflow.connection import MlflowConnection
from components.registry.mlflow.fetching import FILES_FOLDER
from components.registry.mlflow.tables import ALIASES, TAGS, VERSIONS, WORKSPACE
from components.registry.mlflow.versions import (
    BASE_TAG,
    DECODING_TAG,
    INPUT_TAG,
    MODEL_NAME_START,
    OWNER_TAG,
    Version,
    to_tenant,
)
from components.storage.urls import to_local_path

READ_TAGS = ("sha256", "tenant", "record_form", "verdict", BASE_TAG, DECODING_TAG, INPUT_TAG, OWNER_TAG)
"""The tags of the versions that `read_aliased` returns, unless others are named."""


def find_local_files(mlflow: MlflowConnection, alias: str) -> dict[str, Path]:
    """Return tenant -> folder of the files of its version with `alias`, which may be gone; one query.

    Only of a database that is used without a server, and only of files on this disk.
    """
    if mlflow.is_server:
        return {}
    wanted = f"the files of every tenant's {alias}"
    sources = mlflow.read_database(wanted, lambda connection: read_sources(connection, alias)) or {}
    paths = {tenant: to_local_path(mlflow.find_present_uri(uri)) for tenant, uri in sources.items()}
    return {tenant: path / FILES_FOLDER for tenant, path in paths.items() if path is not None}


def read_sources(connection: Connection, alias: str) -> dict[str, str]:
    """Return tenant -> URI of the files of its version with `alias`."""
    own, version = ALIASES.c, VERSIONS.c
    same = sql.and_(version.workspace == own.workspace, version.name == own.name, version.version == own.version)
    query = (
        sql.select(own.name, version.source)
        .join_from(ALIASES, VERSIONS, same)
        .where(own.workspace == WORKSPACE, own.alias == alias)
    )
    return {tenant: source for name, source in connection.execute(query) if source and (tenant := to_tenant(name))}


def read_aliased(
    connection: Connection, *aliases: str, tags: Sequence[str] = READ_TAGS
) -> dict[str, dict[str, Version]]:
    """Return alias -> tenant -> version, whose tags are limited to `tags`."""
    alias, version, tag = ALIASES.c, VERSIONS.c, TAGS.c
    of_version = sql.and_(
        tag.workspace == alias.workspace, tag.name == alias.name, tag.version == alias.version, tag.key.in_(tags)
    )
    with_alias = sql.and_(
        version.workspace == alias.workspace, version.name == alias.name, version.version == alias.version
    )
    query = (
        sql.select(alias.alias, alias.name, alias.version, version.run_id, tag.key, tag.value)
        .join_from(ALIASES, VERSIONS, with_alias)
        .outerjoin(TAGS, of_version)
        .where(alias.workspace == WORKSPACE, alias.alias.in_(aliases))
        .where(alias.name.startswith(MODEL_NAME_START, autoescape=True))
    )
    found: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for alias_name, name, number, run_id, key, value in connection.execute(query):
        own_tags = found.setdefault((alias_name, name, str(number), run_id or ""), {})
        if key is not None:
            own_tags[key] = value
    versions: dict[str, dict[str, Version]] = {name: {} for name in aliases}
    for (alias_name, name, number, run_id), own_tags in found.items():
        tenant = to_tenant(name)
        if tenant:
            versions[alias_name][tenant] = Version(
                tenant,
                number,
                (alias_name,),
                fingerprint=own_tags.get("fingerprint", ""),
                sha256=own_tags.get("sha256", ""),
                tags=own_tags,
                run_id=run_id,
            )
    return versions
