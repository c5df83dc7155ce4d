"""Prefect's own record of a tenant: runs, tasks, logs and artifacts that name it go; what tells of others alone stays.

A run that names it in its parameters, its name, its end's message or a line of its own is deleted whole. Of a run of
many tenants, such as a night's, it is mostly only tasks' lines and tables: there the task runs that tell of it are
deleted, with their lines, and its rows and lines are taken out of artifacts. Prefect deletes no single line of a log,
and over HTTP no event.
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
_LOG_DELETION_TIMEOUT_S = 30.0  # it deletes them in the background
_FilterPath = Literal["/flow_runs/filter", "/task_runs/filter", "/logs/filter", "/artifacts/filter"]
_FIX = "see whether Prefect's server runs, and run the same command again"


@contextmanager
def open_prefect_record() -> Iterator["PrefectRecord | None"]:
    """The record of the server at PREFECT_API_URL, or of this workspace's own; None where neither is.

    Raises:
        WorkspaceError: Prefect fails.
    """
    file = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    own = None if os.environ.get("PREFECT_API_URL") else file
    if own is not None and not own.exists():
        yield None
        return
    with ExitStack() as stack:
        with _translate_errors():
            client = stack.enter_context(get_client(sync_client=True))
        yield PrefectRecord(client, own)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, sqlite3.Error, RuntimeError) as problem:
        raise WorkspaceError("Prefect's record of runs", str(problem).splitlines()[0], _FIX) from problem


class PrefectRecord:
    """What one Prefect server has written down."""

    def __init__(self, client: SyncPrefectClient, file: Path | None) -> None:
        """`file`: the server's database, where it is this workspace's own."""
        self._client, self._database_file = client, file

    @_translate_errors()
    def remove(self, tenant: str) -> None:
        """Delete what names a tenant; safe to do again. The run that does this stays."""
        runs, tasks = self._find_flow_runs(tenant), self._find_task_runs(tenant)
        for one in tasks:
            self._delete("/task_runs/{id}", one)
        for one in runs:
            self._delete("/flow_runs/{id}", one)
        for artifact in self._find_artifacts(tenant):
            changed = {name: _remove_mentions(artifact[name], tenant) for name in ("data", "description")}
            self._client.request("PATCH", "/artifacts/{id}", path_params={"id": artifact["id"]}, json=changed)
        if runs or tasks:
            log_info(f"{tenant}: {len(runs)} runs and {len(tasks)} tasks of other runs deleted from Prefect's record")
        until_s = time.monotonic() + _LOG_DELETION_TIMEOUT_S
        while self._find_log_lines(tenant) and time.monotonic() < until_s:
            time.sleep(0.5)
        if self._database_file is not None:
            _remove_events(self._database_file, tenant)

    @_translate_errors()
    def find_remains(self, tenant: str) -> list[str]:
        """What still names it, each in words."""
        found = [f"run {one} in Prefect" for one in self._find_flow_runs(tenant)]
        found += [f"task run {one} in Prefect" for one in self._find_task_runs(tenant)]
        found += [f"artifact {one['key']} ({one['id']}) in Prefect" for one in self._find_artifacts(tenant)]
        logs, events = (
            self._find_log_lines(tenant),
            0 if self._database_file is None else len(_find_events(self._database_file, tenant)),
        )
        found += [f"{len(logs)} lines of logs in Prefect"] if logs else []
        return found + ([f"{events} events in {self._database_file}"] if events else [])

    def _find_flow_runs(self, tenant: str) -> list[str]:
        """The flow runs that go whole."""
        found = {log["flow_run_id"] for log in self._find_log_lines(tenant) if not log["task_run_id"]}
        for run in self._list_all("/flow_runs/filter"):
            parts = run["name"], run["parameters"], run["tags"], (run["state"] or {}).get("message")
            if _has_tenant_name(parts, tenant):
                found.add(run["id"])
        return sorted(found - {None, runtime.flow_run.id})

    def _find_task_runs(self, tenant: str) -> list[str]:
        """The task runs that go."""
        found = {log["task_run_id"] for log in self._find_log_lines(tenant)}
        for run in self._list_all("/task_runs/filter", task_runs={"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}):
            if _has_tenant_name((run["name"], (run["state"] or {}).get("message")), tenant):
                found.add(run["id"])
        return sorted(found - {None})

    def _find_log_lines(self, tenant: str) -> list[dict[str, Any]]:
        """Lines that name it, but for those of this run."""
        if self._database_file is not None:
            lines = _query_rows(self._database_file, "SELECT flow_run_id, task_run_id, message FROM log")
        else:
            lines = self._search_logs(tenant)
        mine = runtime.flow_run.id
        return [line for line in lines if line["flow_run_id"] != mine and _has_tenant_name(line["message"], tenant)]

    def _search_logs(self, tenant: str) -> list[dict[str, Any]]:
        """Lines with these letters in them; all lines where the server's SQLite is too old to search (before 3.44)."""
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

    def _list_all(self, path: _FilterPath, **wanted: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            body = {**wanted, "limit": _PAGE_SIZE, "offset": len(found)}
            page = self._client.request("POST", path, json=body).json()
            found += page
            if len(page) < _PAGE_SIZE:
                return found

    def _delete(self, path: Literal["/task_runs/{id}", "/flow_runs/{id}"], one: str) -> None:
        try:
            self._client.request("DELETE", path, path_params={"id": one})
        except httpx.HTTPStatusError as problem:
            if problem.response.status_code != httpx.codes.NOT_FOUND:
                raise


def _has_tenant_name(value: Any, tenant: str) -> bool:
    """Whether a value has the tenant's name in it, as a word."""
    return bool(_make_name_pattern(tenant).search(value if isinstance(value, str) else json.dumps(value)))


def _remove_mentions(value: Any, tenant: str) -> Any:
    """An artifact's text without the lines, or its table without the rows, that name a tenant."""
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
        asked = database.execute(query)
        heads = [head[0] for head in asked.description]
        return [dict(zip(heads, row, strict=True)) for row in asked]


def _remove_events(file: Path, tenant: str) -> None:
    """Delete them, and overwrite what was deleted before."""
    ids = [(one,) for one in _find_events(file, tenant)]
    with closing(sqlite3.connect(file, timeout=10)) as database:
        with database:
            database.executemany("DELETE FROM event_resources WHERE event_id = ?", ids)
            database.executemany("DELETE FROM events WHERE id = ?", ids)
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
