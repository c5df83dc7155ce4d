"""Aliases read from MLflow's own tables, where the registry is a database: one query for a fleet.

MLflow's search for models costs seconds for a thousand of them, which is too much for what is asked every other second.
Knows the tables of the MLflow version that is pinned; a test holds what it reads against MLflow's own answer.
"""

from collections.abc import Sequence
from typing import Any

from components.registry.mlflow.versions import MODEL_NAME_START, Version, to_tenant

READ_TAGS = ("sha256", "record_form", "verdict")
"""The tags that a version read so has."""


def read_aliased(client: Any, aliases: Sequence[str]) -> dict[str, dict[str, Version]]:
    """Alias -> tenant -> the version that bears it, with `READ_TAGS` alone; `client` must speak to a database."""
    import sqlalchemy as sql
    from mlflow.store.model_registry.dbmodels import models

    alias, version, tag = models.SqlRegisteredModelAlias, models.SqlModelVersion, models.SqlModelVersionTag
    same = sql.and_(
        tag.workspace == alias.workspace, tag.name == alias.name, tag.version == alias.version, tag.key.in_(READ_TAGS)
    )
    there = sql.and_(version.workspace == alias.workspace, version.name == alias.name, version.version == alias.version)
    query = (
        sql.select(alias.alias, alias.name, alias.version, version.run_id, tag.key, tag.value)
        .join(version, there)
        .outerjoin(tag, same)
        .where(alias.alias.in_(aliases), alias.name.startswith(MODEL_NAME_START, autoescape=True))
    )
    store = client._get_registry_client().store
    query = query.where(alias.workspace == store._get_active_workspace())
    tags: dict[tuple[str, str, str, str], dict[str, str]] = {}
    with store.ManagedSessionMaker(read_only=True) as session:
        for name_of_alias, name, number, run_id, key, value in session.execute(query):
            known = tags.setdefault((name_of_alias, name, str(number), run_id or ""), {})
            if key is not None:
                known[key] = value
    found: dict[str, dict[str, Version]] = {name: {} for name in aliases}
    for (name_of_alias, name, number, run_id), known in tags.items():
        tenant = to_tenant(name)
        if tenant:
            sha256 = known.get("sha256", "")
            found[name_of_alias][tenant] = Version(
                tenant, number, (name_of_alias,), sha256=sha256, tags=known, run_id=run_id
            )
    return found
