"""Counts of inputs by version and hour, written by servers in batches, and the profiles of the training inputs.

Counts of all servers are added up. Knows no text.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sql

from components.rollout.store.tables import INPUT_COUNT_COLUMNS, INPUT_LENGTHS, INPUT_PROFILES, INPUTS
from components.storage.database import Database, make_insert

_KEYS_PER_QUERY = 300


class InputVersion(NamedTuple):
    """A version, by the digest of its tensors."""

    tenant: str
    sha256: str


class InputKey(NamedTuple):
    """Key of the counts: a version and an hour."""

    version: InputVersion
    hour: int
    """Hours since 1970, UTC."""


class InputRow(NamedTuple):
    """Counts by name, and inputs by bucket of their length."""

    counts: Mapping[str, int]
    lengths: Mapping[int, int]


def write_profiles(database: Database, profiles: Mapping[InputVersion, Mapping[str, Any]]) -> None:
    """Save profiles, each instead of those of the tenant's other versions. Raises WorkspaceError."""
    if not profiles:
        return
    rows = [{**key._asdict(), "profile": json.dumps(profile)} for key, profile in profiles.items()]
    with database.transaction("to save profiles of training inputs") as connection:
        old = INPUT_PROFILES.c.tenant == sql.bindparam("of_tenant")
        connection.execute(sql.delete(INPUT_PROFILES).where(old), [{"of_tenant": key.tenant} for key in profiles])
        connection.execute(sql.insert(INPUT_PROFILES), rows)


def list_profiled(database: Database) -> set[InputVersion]:
    """Return the versions that have a profile. Raises WorkspaceError."""
    with database.connect("the profiles of training inputs") as connection:
        rows = connection.execute(sql.select(INPUT_PROFILES.c.tenant, INPUT_PROFILES.c.sha256))
        return {InputVersion(*row) for row in rows}


def read_profiles(database: Database, versions: Collection[InputVersion]) -> dict[InputVersion, dict[str, Any]]:
    """Return version -> profile of those that have one. Raises WorkspaceError."""
    wanted, found = sorted(versions), {}
    for start in range(0, len(wanted), _KEYS_PER_QUERY):
        some = {key.tenant for key in wanted[start : start + _KEYS_PER_QUERY]}
        with database.connect("the profiles of training inputs") as connection:
            for row in connection.execute(sql.select(INPUT_PROFILES).where(INPUT_PROFILES.c.tenant.in_(some))):
                found[InputVersion(row.tenant, row.sha256)] = json.loads(row.profile)
    return {key: found[key] for key in wanted if key in found}


def add_inputs(database: Database, rows: Mapping[InputKey, InputRow]) -> None:
    """Add counts to the stored ones, in one transaction. Raises WorkspaceError."""
    if not rows:
        return
    counts, lengths = [], []
    for key in sorted(rows):  # sorted, so that two servers cannot deadlock on each other's rows
        columns = {**key.version._asdict(), "hour": key.hour}
        counts.append({**columns, **rows[key].counts})
        lengths += [{**columns, "bucket": bucket, "inputs": n} for bucket, n in sorted(rows[key].lengths.items())]
    with database.transaction("to save counts of inputs") as connection:
        for table, some, names in ((INPUTS, counts, INPUT_COUNT_COLUMNS), (INPUT_LENGTHS, lengths, ("inputs",))):
            if some:
                insert = make_insert(connection, table)
                sums = {name: table.c[name] + insert.excluded[name] for name in names}
                keys = [column.name for column in table.primary_key.columns]
                connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=sums), some)


def read_inputs(database: Database, first_hour: int) -> dict[InputVersion, InputRow]:
    """Return version -> sums of its counts from an hour on. Raises WorkspaceError."""
    with database.connect("the counts of inputs") as connection:
        sums = [sql.func.sum(INPUTS.c[name]).label(name) for name in INPUT_COUNT_COLUMNS]
        query = _select_sums(INPUTS, sums, first_hour, ())
        found = {
            InputVersion(row.tenant, row.sha256): InputRow(
                {name: int(getattr(row, name)) for name in INPUT_COUNT_COLUMNS}, {}
            )
            for row in connection.execute(query)
        }
        sums = [sql.func.sum(INPUT_LENGTHS.c.inputs).label("inputs")]
        lengths: dict[InputVersion, dict[int, int]] = {}
        for row in connection.execute(_select_sums(INPUT_LENGTHS, sums, first_hour, (INPUT_LENGTHS.c.bucket,))):
            lengths.setdefault(InputVersion(row.tenant, row.sha256), {})[row.bucket] = int(row.inputs)
    return {version: row._replace(lengths=lengths.get(version, {})) for version, row in found.items()}


def delete_inputs_before(database: Database, minute: int) -> None:
    """Delete the counts from before a minute since 1970. Raises WorkspaceError."""
    with database.transaction("to delete old counts of inputs") as connection:
        for table in (INPUTS, INPUT_LENGTHS):
            connection.execute(sql.delete(table).where(table.c.hour < minute // 60))


def _select_sums(table: sql.Table, sums: Iterable[Any], first_hour: int, also: tuple[Any, ...]) -> sql.Select[Any]:
    by = (table.c.tenant, table.c.sha256, *also)
    return sql.select(*by, *sums).where(table.c.hour >= first_hour).group_by(*by)
