"""Copies of registered versions: rows in MLflow's tables, the files of their runs, and entries of the ledger.

Every row of the original's run, dataset entry, model, version, tags and alias gets a copy with the copy's names and
identifiers, whatever columns the tables have. So all readers find what a real registration leaves.
"""

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.registry.mlflow.fetching import FILES_FOLDER
from components.registry.mlflow.quiet import quiet_mlflow
from components.registry.mlflow.versions import to_model_name
from components.rollout.store import ledger
from components.rollout.store.tables import LEDGER
from components.stages.workspace import Workspace
from harness.copied_tenants import CopiedTenant

_RUNS, _DATASETS = "runs", "inputs"
_ROWS_AT_ONCE = 20_000
_MODEL_ID = re.compile(r"^model_uuid: (\w{32})$", re.MULTILINE)

_Rows = Mapping[str, Sequence[dict[str, Any]]]
"""Table -> rows."""


@dataclass(frozen=True)
class OriginalVersion:
    """The only version of a tenant that was really registered."""

    rows: _Rows
    """Table of MLflow's -> rows."""
    files: Mapping[str, bytes]
    """Path below the run's artifacts -> content."""

    @property
    def artifact_uri(self) -> str:
        """Where its files are."""
        return str(self.rows[_RUNS][0]["artifact_uri"])

    def list_identifiers(self) -> list[str]:
        """Return what a copy must have others of: ids of the run, of its dataset entry, of the model in its files."""
        ids = [row[name] for row in self.rows[_DATASETS] for name in ("destination_id", "source_id", "input_uuid")]
        texts = (content.decode() for path, content in self.files.items() if path.endswith("MLmodel"))
        return list(dict.fromkeys([*ids, *(found for text in texts for found in _MODEL_ID.findall(text))]))


def read_original(engine: sql.Engine, tenant: str, tracking_uri: str) -> OriginalVersion:
    """Read the only version of a tenant."""
    from mlflow.artifacts import download_artifacts

    name, schema = to_model_name(tenant), sql.MetaData()
    with engine.connect() as connection:
        schema.reflect(connection)
        run_id = connection.execute(
            sql.text("SELECT run_id FROM model_versions WHERE name = :name"), {"name": name}
        ).scalar_one()
        rows = _select_rows(connection, schema, {run_id, name})
        used = {row[column] for row in rows[_DATASETS] for column in ("input_uuid", "source_id")}
        rows = _select_rows(connection, schema, used) | rows
    with quiet_mlflow():
        root = Path(download_artifacts(run_id=run_id, artifact_path="", tracking_uri=tracking_uri))
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return OriginalVersion(rows, files)


def _select_rows(
    connection: sql.Connection, schema: sql.MetaData, values: Collection[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return table -> rows that have one of the values in a column of text, without tables that have no such row."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for table in schema.sorted_tables:
        texts = [column for column in table.columns if isinstance(column.type, sql.String)]
        query = sql.select(table).where(sql.or_(sql.false(), *(column.in_(values) for column in texts)))
        if selected := [dict(row) for row in connection.execute(query).mappings()]:
            rows[table.name] = selected
    return rows


def copy_rows(engine: sql.Engine, originals: Mapping[str, OriginalVersion], copies: Sequence[CopiedTenant]) -> None:
    """Write the rows of the copies, whose identifiers are renewed."""
    schema = sql.MetaData()
    with engine.begin() as connection:
        schema.reflect(connection)
        for table in schema.sorted_tables:
            rows = (
                _replace_texts(one, row) for one in copies for row in originals[one.source].rows.get(table.name, ())
            )
            while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
                connection.execute(sql.insert(table), some)


def _replace_texts(copy: CopiedTenant, row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): copy.replace_text(value) if isinstance(value, str) else value for name, value in row.items()}


def list_files(
    workspace: Workspace, originals: Mapping[str, OriginalVersion], copies: Iterable[CopiedTenant]
) -> Iterator[tuple[str, bytes]]:
    """Yield URI and content of every file of the copies' runs."""
    own = {f"model/{FILES_FOLDER}/{name}": name for name in (TENSORS_FILE, MANIFEST_FILE)}
    for one in copies:
        original, trained = originals[one.source], workspace.get_output_folder("train", one.tenant)
        folder = one.replace_text(original.artifact_uri)
        for path, content in original.files.items():
            made = (trained / own[path]).read_bytes() if path in own else one.replace(content)
            yield f"{folder}/{path}", made


def copy_ledger(workspace: Workspace, copies: Sequence[CopiedTenant]) -> None:
    """Give the copies the originals' entries of the ledger, and their rows in every other table with tenants."""
    entries = {one: ledger.read_history(workspace.database, one) for one in {copy.source for copy in copies}}
    schema = sql.MetaData()
    with workspace.database.transaction("to copy tenants") as connection:
        schema.reflect(connection, only=lambda name, _: name.startswith("prefixfleet_") and name != LEDGER.name)
        for table in (one for one in schema.sorted_tables if "tenant" in one.columns):
            rows = {
                one: connection.execute(sql.select(table).where(table.c.tenant == one)).mappings().all()
                for one in entries
            }
            numbered = {one.name for one in table.primary_key if isinstance(one.type, sql.Integer)} - {"day"}
            made = [
                {name: value for name, value in _replace_texts(one, row).items() if name not in numbered}
                for one in copies
                for row in rows[one.source]
            ]
            if made:
                connection.execute(sql.insert(table), made)
        ledger.write_entries(
            connection, *(replace(entry, tenant=one.tenant) for one in copies for entry in entries[one.source])
        )
