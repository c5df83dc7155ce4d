"""Versions, tags and aliases of a fleet from MLflow's tables; each function equals the one of its name in `versions`.

Knows the queries; does not know how the connection was made, or what a version is used for.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.registry.mlflow.tables import ALIASES, CREATED, DELETED_STAGE, TAGS, VERSIONS, WORKSPACE
from components.registry.mlflow.versions import (
    CHALLENGER,
    CHAMPION,
    MODEL_NAME_START,
    Version,
    to_model_name,
    to_tenant,
)

_Condition = sql.ColumnElement[bool]
_Item = TypeVar("_Item")

_PAIRS_PER_QUERY = 500
_NAMES_PER_QUERY = 1000


def find_aliased(connection: Connection, *aliases: str) -> dict[str, dict[str, Version]]:
    """Return alias -> tenant -> version."""
    wanted = ALIASES.alias("wanted")
    is_aliased = sql.exists().where(_is_of_version(wanted), wanted.c.alias.in_(aliases))
    found: dict[str, dict[str, Version]] = {alias: {} for alias in aliases}
    for version in _read_versions(connection, is_aliased):
        for alias in found.keys() & set(version.aliases):
            found[alias][version.tenant] = version
    return found


def find_by_alias(connection: Connection, tenant: str, alias: str) -> Version | None:
    """Return the version with `alias`, or None."""
    return next((version for version in find_versions(connection, tenant) if alias in version.aliases), None)


def find_aliased_of_tenant(connection: Connection, tenant: str) -> list[Version]:
    """Return the tenant's champion and challenger, if they exist."""
    return [one for one in find_versions(connection, tenant) if {CHAMPION, CHALLENGER} & set(one.aliases)]


def find_versions(connection: Connection, tenant: str) -> list[Version]:
    """Return all versions of a tenant, newest first; none for an unknown tenant."""
    return sorted(_read_versions(connection, VERSIONS.c.name == to_model_name(tenant)), key=_read_number, reverse=True)


def find_histories(connection: Connection, *tags: str) -> dict[str, list[Version]]:
    """Return tenant -> all its versions, oldest first, with only these tags."""
    own = sql.and_(_is_of_version(TAGS), TAGS.c.key.in_(tags))
    columns = (VERSIONS.c.name, VERSIONS.c.version, VERSIONS.c.run_id, CREATED, TAGS.c.key, TAGS.c.value)
    query = sql.select(*columns).outerjoin_from(VERSIONS, TAGS, own)
    wanted = (*_IS_VERSION, VERSIONS.c.name.startswith(MODEL_NAME_START, autoescape=True))
    found: dict[tuple[str, int], Version] = {}
    for name, number, run_id, created_ms, key, value in connection.execute(query.where(*wanted)):
        tenant = to_tenant(name)
        if tenant is None:
            continue
        version = found.setdefault(
            (tenant, int(number)),
            Version(tenant, str(number), run_id=run_id or "", created_s=(created_ms or 0) / 1000),
        )
        if key is not None:
            version.tags[key] = str(value)
    histories: dict[str, list[Version]] = {}
    for (tenant, _), version in sorted(found.items()):
        histories.setdefault(tenant, []).append(replace(version, sha256=version.tags.get("sha256", "")))
    return histories


def find_aliases(connection: Connection, tenant: str) -> dict[str, str]:
    """Return alias -> version number; none for an unknown tenant."""
    query = sql.select(ALIASES.c.alias, ALIASES.c.version)
    rows = connection.execute(query.where(ALIASES.c.workspace == WORKSPACE, ALIASES.c.name == to_model_name(tenant)))
    return {alias: str(number) for alias, number in rows}


def find_by_sha256(connection: Connection, sha256s: Mapping[str, str]) -> dict[str, Version]:
    """Return tenant -> its newest version whose prefix has the tenant's value in `sha256s`, where there is one."""
    newest: dict[str, int] = {}
    for tenant, number, sha256 in _read_sha256s(connection, sha256s):
        if sha256 == sha256s[tenant]:
            newest[tenant] = max(int(number), newest.get(tenant, 0))
    versions: dict[str, Version] = {}
    for pairs in _split(newest.items(), _PAIRS_PER_QUERY):
        keys = [(to_model_name(tenant), number) for tenant, number in pairs]
        found = _read_versions(connection, sql.tuple_(VERSIONS.c.name, VERSIONS.c.version).in_(keys))
        versions |= {version.tenant: version for version in found}
    return versions


def find_sha256s(connection: Connection, tenants: Collection[str]) -> dict[str, set[str]]:
    """Return tenant -> sha256s of its versions, without tenants that have none."""
    sha256s: dict[str, set[str]] = {}
    for tenant, _, sha256 in _read_sha256s(connection, tenants):
        sha256s.setdefault(tenant, set()).add(sha256)
    return sha256s


def _read_sha256s(connection: Connection, tenants: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    """Yield tenant, version and sha256 ("": none) of all versions of these tenants."""
    tag = sql.and_(_is_of_version(TAGS), TAGS.c.key == "sha256")
    query = sql.select(VERSIONS.c.name, VERSIONS.c.version, TAGS.c.value).outerjoin_from(VERSIONS, TAGS, tag)
    for names in _split(map(to_model_name, tenants), _NAMES_PER_QUERY):
        for name, number, sha256 in connection.execute(query.where(*_IS_VERSION, VERSIONS.c.name.in_(names))):
            yield name.removeprefix(MODEL_NAME_START), str(number), sha256 or ""


def _read_versions(connection: Connection, condition: _Condition) -> Sequence[Version]:
    """Return the versions of all tenants for which a condition on `VERSIONS` holds, with all tags and aliases."""
    wanted = (*_IS_VERSION, VERSIONS.c.name.startswith(MODEL_NAME_START, autoescape=True), condition)
    aliases: dict[tuple[str, str], list[str]] = {}
    query = sql.select(VERSIONS.c.name, VERSIONS.c.version, ALIASES.c.alias)
    for name, number, alias in connection.execute(query.join(ALIASES, _is_of_version(ALIASES)).where(*wanted)):
        aliases.setdefault((name, str(number)), []).append(alias)
    tags: dict[tuple[str, str, str], dict[str, str]] = {}
    created: dict[tuple[str, str], float] = {}
    columns = sql.select(VERSIONS.c.name, VERSIONS.c.version, VERSIONS.c.run_id, CREATED, TAGS.c.key, TAGS.c.value)
    rows: Iterable[Any] = connection.execute(
        columns.outerjoin_from(VERSIONS, TAGS, _is_of_version(TAGS)).where(*wanted)
    )
    for name, number, run_id, created_ms, key, value in rows:
        created[name, str(number)] = (created_ms or 0) / 1000
        own = tags.setdefault((name, str(number), run_id or ""), {})
        if key is not None:
            own[key] = str(value)
    return [
        _make_version(tenant, number, run_id, own, aliases.get((name, number), []), created[name, number])
        for (name, number, run_id), own in tags.items()
        if (tenant := to_tenant(name))
    ]


def _make_version(
    tenant: str, number: str, run_id: str, tags: dict[str, str], aliases: list[str], created_s: float
) -> Version:
    return Version(
        tenant=tenant,
        version=number,
        aliases=tuple(sorted(aliases)),
        fingerprint=tags.get("fingerprint", ""),
        dataset_version=tags.get("dataset_version", ""),
        sha256=tags.get("sha256", ""),
        tags=tags,
        run_id=run_id,
        created_s=created_s,
    )


def _is_of_version(table: sql.FromClause) -> _Condition:
    return sql.and_(
        table.c.workspace == VERSIONS.c.workspace,
        table.c.name == VERSIONS.c.name,
        table.c.version == VERSIONS.c.version,
    )


_IS_VERSION = (VERSIONS.c.workspace == WORKSPACE, sql.func.coalesce(VERSIONS.c.current_stage, "") != DELETED_STAGE)


def _read_number(version: Version) -> int:
    return int(version.version)


def _split(items: Iterable[_Item], size: int) -> Iterable[list[_Item]]:
    """Yield the items in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
