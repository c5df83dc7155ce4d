"""Reads aliases from MLflow's own tables: one query for the whole fleet.

MLflow's search for models takes seconds for a thousand of them, too slow to poll every other second. Knows the tables
of the pinned MLflow version; a test compares the result with MLflow's own search.
"""

from collections.abc import Sequence
from typing import Any

from components.registry.mlflow.versions import MODEL_NAME_START, Version, to_tenant

READ_TAGS = ("sha256", "record_form", "verdict")
"""The tags of the versions that `read_aliased` returns."""


def read_aliased(client: Any, aliases: Sequence[str]) -> dict[str, dict[str, Version]]:
    """Return alias -> tenant -> version, whose tags are limited to `READ_TAGS`; `client` must be of a database."""
    import sqlalchemy as sql
    from mlflow.store.model_registry.dbmodels import models

    alias, version, tag = models.SqlRegisteredModelAlias, models.SqlModelVersion, models.SqlModelVersionTag
    of_version = sql.and_(
        tag.workspace == alias.workspace, tag.name == alias.name, tag.version == alias.version, tag.key.in_(READ_TAGS)
    )
    with_alias = sql.and_(
        version.workspace == alias.workspace, version.name == alias.name, version.version == alias.version
    )
    query = (
        sql.select(alias.alias, alias.name, alias.version, version.run_id, tag.key, tag.value)
        .join(version, with_alias)
        .outerjoin(tag, of_version)
        .where(alias.alias.in_(aliases), alias.name.startswith(MODEL_NAME_START, autoescape=True))
    )
    store = client._get_registry_client().store
    query = query.where(alias.workspace == store._get_active_workspace())
    tags: dict[tuple[str, str, str, str], dict[str, str]] = {}
    with store.ManagedSessionMaker(read_only=True) as session:
        for alias_name, name, number, run_id, key, value in session.execute(query):
            own_tags = tags.setdefault((alias_name, name, str(number), run_id or ""), {})
            if key is not None:
                own_tags[key] = value
    versions: dict[str, dict[str, Version]] = {name: {} for name in aliases}
    for (alias_name, name, number, run_id), own_tags in tags.items():
        tenant = to_tenant(name)
        if tenant:
            sha256 = own_tags.get("sha256", "")
            versions[alias_name][tenant] = Version(
                tenant, number, (alias_name,), sha256=sha256, tags=own_tags, run_id=run_id
            )
    return versions
