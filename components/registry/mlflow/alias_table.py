"""Reads the aliases of the whole fleet from MLflow's own tables: one query, fast enough for every other second.

MLflow's search for models takes seconds for a thousand of them. A test compares the result with MLflow's own search.
"""

from collections.abc import Sequence

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.registry.mlflow.tables import ALIASES, TAGS, VERSIONS, WORKSPACE
from components.registry.mlflow.versions import MODEL_NAME_START, OWNER_TAG, Version, to_tenant

READ_TAGS = ("sha256", "tenant", "record_form", "verdict", OWNER_TAG)
"""The tags of the versions that `read_aliased` returns, unless others are named."""


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
