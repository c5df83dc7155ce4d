"""Remove a tenant from Prefect's records: runs, task runs, logs, artifacts and events that name it.

A flow run is deleted if its parameters, its name, its tags, its final message or a log line of its own (outside of
tasks) name the tenant. In other runs the task runs that name it are deleted with their log lines, and its rows and
lines are removed from artifacts. Prefect cannot delete a single log line, and has no HTTP call to delete events.
"""

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client

from components.errors import WorkspaceError
from components.stages.progress import log_info

_PAGE_SIZE = 200  # Prefect's limit
_LOG_DELETION_TIMEOUT_S = 30.0  # Prefect deletes log lines in the background
_FilterPath = Literal["/flow_runs/filter", "/task_runs/filter", "/logs/filter", "/artifacts/filter"]
_FIX = "check that Prefect's server runs, and run the same command again"


@contextmanager
def open_prefect_record() -> Iterator["PrefectRecord | None"]:
    """Open the records of the server at PREFECT_API_URL, else of the workspace's local server; None if it has none.

    Raises:
        WorkspaceError: the server does not start or does not answer.
    """
    file = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    local_file = None if os.environ.get("PREFECT_API_URL") else file
    if local_file is not None and not local_file.exists():
        yield None
        return
    with ExitStack() as stack:
        with _translate_errors():
            client = stack.enter_context(get_client(sync_client=True))
        yield PrefectRecord(client, local_file)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, sqlite3.Error, RuntimeError) as problem:
        raise WorkspaceError("access to Prefect's records of runs", str(problem).splitlines()[0], _FIX) from problem


class PrefectRecord:
    """The records of one Prefect server."""

    def __init__(self, client: SyncPrefectClient, file: Path | None) -> None:
        """`file`: the database of the workspace's local server; None for another server."""
        self._client, self._database_file = client, file

    @_translate_errors()
    def remove(self, tenant: str) -> None:
        """Delete all records that name a tenant, except those of the present run. Idempotent."""
        runs, tasks = self._find_flow_runs(tenant), self._find_task_runs(tenant)
        for task_run_id in tasks:
            self._delete("/task_runs/{id}", task_run_id)
        for flow_run_id in runs:
            self._delete("/flow_runs/{id}", flow_run_id)
        for artifact in self._find_artifacts(tenant):
            changed = {name: _remove_mentions(artifact[name], tenant) for name in ("data", "description")}
            self._client.request("PATCH", "/artifacts/{id}", path_params={"id": artifact["id"]}, json=changed)
        if runs or tasks:
            log_info(f"{tenant}: deleted {len(runs)} flow runs and {len(tasks)} task runs from Prefect's records")
        until_s = time.monotonic() + _LOG_DELETION_TIMEOUT_S
        while self._find_log_lines(tenant) and time.monotonic() < until_s:
            time.sleep(0.5)
        if self._database_file is not None:
            _remove_events(self._database_file, tenant)

    @_translate_errors()
    def find_remains(self, tenant: str) -> list[str]:
        """Describe every record that still names a tenant."""
        remains = [f"flow run {run_id} in Prefect" for run_id in self._find_flow_runs(tenant)]
        remains += [f"task run {run_id} in Prefect" for run_id in self._find_task_runs(tenant)]
        remains += [f"artifact {one['key']} ({one['id']}) in Prefect" for one in self._find_artifacts(tenant)]
        line_count = len(self._find_log_lines(tenant))
        event_count = 0 if self._database_file is None else len(_find_events(self._database_file, tenant))
        remains += [f"{line_count} log lines in Prefect"] if line_count else []
        return remains + ([f"{event_count} events in {self._database_file}"] if event_count else [])

    def _find_flow_runs(self, tenant: str) -> list[str]:
        """Return the ids of the flow runs to delete."""
        found = {log["flow_run_id"] for log in self._find_log_lines(tenant) if not log["task_run_id"]}
        for run in self._list_all("/flow_runs/filter"):
            parts = run["name"], run["parameters"], run["tags"], (run["state"] or {}).get("message")
            if _has_tenant_name(parts, tenant):
                found.add(run["id"])
        return sorted(found - {None, runtime.flow_run.id})

    def _find_task_runs(self, tenant: str) -> list[str]:
        """Return the ids of the task runs to delete."""
        found = {log["task_run_id"] for log in self._find_log_lines(tenant)}
        for run in self._list_all("/task_runs/filter", task_runs={"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}):
            if _has_tenant_name((run["name"], (run["state"] or {}).get("message")), tenant):
                found.add(run["id"])
        return sorted(found - {None})

    def _find_log_lines(self, tenant: str) -> list[dict[str, Any]]:
        """Return the log lines that name a tenant, except those of the present run."""
        if self._database_file is not None:
            lines = _query_rows(self._database_file, "SELECT flow_run_id, task_run_id, message FROM log")
        else:
            lines = self._search_logs(tenant)
        own_id = runtime.flow_run.id
        return [line for line in lines if line["flow_run_id"] != own_id and _has_tenant_name(line["message"], tenant)]

    def _search_logs(self, tenant: str) -> list[dict[str, Any]]:
        """Search log lines for the tenant's name. If the server's SQLite is too old to search (< 3.44), return all."""
        try:
            return self._list_all("/logs/filter", logs={"text": {"query": f'"{tenant}"'}})
        except httpx.HTTPStatusError as problem:
            if problem.response.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            return self._list_all("/logs/filter")

    def _find_artifacts(self, tenant: str) -> list[dict[str, Any]]:
        return [
            one
            for one in self._list_all("/artifacts/filter")
            if _has_tenant_name((one["data"], one["description"]), tenant)
        ]

    def _list_all(self, path: _FilterPath, **filters: Any) -> list[dict[str, Any]]:
        """Return all pages of a query."""
        rows: list[dict[str, Any]] = []
        while True:
            body = {**filters, "limit": _PAGE_SIZE, "offset": len(rows)}
            page = self._client.request("POST", path, json=body).json()
            rows += page
            if len(page) < _PAGE_SIZE:
                return rows

    def _delete(self, path: Literal["/task_runs/{id}", "/flow_runs/{id}"], run_id: str) -> None:
        """Delete a run; do nothing if it is gone already."""
        try:
            self._client.request("DELETE", path, path_params={"id": run_id})
        except httpx.HTTPStatusError as problem:
            if problem.response.status_code != httpx.codes.NOT_FOUND:
                raise


def _has_tenant_name(value: Any, tenant: str) -> bool:
    """Return whether a value contains the tenant's name as a whole word."""
    return bool(_make_name_pattern(tenant).search(value if isinstance(value, str) else json.dumps(value)))


def _remove_mentions(value: Any, tenant: str) -> Any:
    """Return an artifact's text without the lines, or its table without the rows, that name a tenant."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return json.dumps([row for row in json.loads(value) if not _has_tenant_name(row, tenant)])
    return "".join(line for line in value.splitlines(keepends=True) if not _has_tenant_name(line, tenant))


def _make_name_pattern(tenant: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![-\w]){re.escape(tenant)}(?![-\w])")


def _find_events(file: Path, tenant: str) -> list[str]:
    rows = _query_rows(file, "SELECT id, resource, related, payload FROM events")
    return [row["id"] for row in rows if _has_tenant_name(" ".join(map(str, row.values())), tenant)]


def _query_rows(file: Path, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(file, timeout=10)) as database:
        cursor = database.execute(query)
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor]


def _remove_events(file: Path, tenant: str) -> None:
    """Delete the events that name a tenant, and overwrite the deleted content in the file."""
    ids = [(event_id,) for event_id in _find_events(file, tenant)]
    with closing(sqlite3.connect(file, timeout=10)) as database:
        with database:
            database.executemany("DELETE FROM event_resources WHERE event_id = ?", ids)
            database.executemany("DELETE FROM events WHERE id = ?", ids)
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
