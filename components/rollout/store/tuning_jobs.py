"""The table of fine-tuning jobs, and the events of each. A job's state moves in one direction, by one statement.

Knows no HTTP, no file and no process.
"""

import json
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sql

from components.rollout.store.tuning_tables import TUNING_EVENTS, TUNING_JOBS, TUNING_NOTICES
from components.storage.database import Database, make_insert

JobStatus = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
WAITING: tuple[JobStatus, ...] = ("validating_files", "queued")
ACTIVE: tuple[JobStatus, ...] = (*WAITING, "running")
EventLevel = Literal["info", "warn", "error"]
TRIGGER_START = "fine-tuning job "
"""What the trigger of every job's run begins with."""
_OWN = TUNING_JOBS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningJob:
    """One job. Times are seconds since 1970; 0: not yet."""

    id: str
    number: int
    """Its place in the order of creation."""
    tenant: str
    place: str
    """Which machine and workspace run it."""
    status: JobStatus
    request: Mapping[str, Any]
    """What the client sent, apart from the files."""
    training_file: str
    validation_file: str
    """"": none."""
    created_s: float
    began_s: float = 0.0
    ended_s: float = 0.0
    version: str = ""
    """The version that it made."""
    trained_tokens: int = 0
    steps: int = 0
    error_code: str = ""
    error_message: str = ""

    @property
    def trigger(self) -> str:
        """What starts its run, in the records of runs."""
        return f"{TRIGGER_START}{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """What happened to a job."""

    id: int
    at_s: float
    level: EventLevel
    message: str


def create_job(
    database: Database,
    *,
    tenant: str,
    place: str,
    request: Mapping[str, Any],
    training_file: str,
    validation_file: str,
    max_waiting: int,
) -> TuningJob | None:
    """Add a job, whose files are to be checked; None: the tenant has `max_waiting` jobs that have not ended.

    Raises WorkspaceError.
    """
    job_id = f"ftjob-{secrets.token_hex(12)}"
    with database.transaction("to record a fine-tuning job") as connection:
        open_jobs = sql.select(sql.func.count()).select_from(TUNING_JOBS)
        own = open_jobs.where(_OWN.tenant == tenant, _OWN.status.in_(ACTIVE))
        if connection.execute(own).scalar_one() >= max_waiting:
            return None
        number = sql.select(sql.func.coalesce(sql.func.max(_OWN.number), 0) + 1).scalar_subquery()
        row = {
            "id": job_id,
            "number": number,
            "tenant": tenant,
            "place": place,
            "status": "validating_files",
            "request": json.dumps(request),
            "training_file": training_file,
            "validation_file": validation_file,
            "created_s": time.time(),
            **dict.fromkeys(("began_s", "ended_s"), 0.0),
            **dict.fromkeys(("version", "error_code", "error_message"), ""),
            **dict.fromkeys(("trained_tokens", "steps"), 0),
        }
        connection.execute(sql.insert(TUNING_JOBS).values(row))
    return find_job(database, job_id, None)


def find_job(database: Database, job_id: str, viewer: str | None) -> TuningJob | None:
    """Return a job that `viewer` may see: a tenant its own, None (an admin) all. Raises WorkspaceError."""
    found = _read(database, sql.select(TUNING_JOBS).where(_OWN.id == job_id, *_see(viewer)))
    return found[0] if found else None


def list_jobs(database: Database, viewer: str | None, limit: int | None = None) -> list[TuningJob]:
    """Return the jobs that `viewer` may see, the newest first; all, or `limit`. Raises WorkspaceError."""
    return _read(database, sql.select(TUNING_JOBS).where(*_see(viewer)).order_by(_OWN.number.desc()).limit(limit))


def list_active_jobs(database: Database, place: str) -> list[TuningJob]:
    """Return the jobs of a place that have not ended, the oldest first. Raises WorkspaceError."""
    query = sql.select(TUNING_JOBS).where(_OWN.place == place, _OWN.status.in_(ACTIVE))
    return _read(database, query.order_by(_OWN.number))


def read_durations(database: Database, place: str, limit: int) -> list[float]:
    """Return how long the last jobs took that succeeded, in seconds. Raises WorkspaceError."""
    query = sql.select(TUNING_JOBS).where(_OWN.place == place, _OWN.status == "succeeded")
    found = _read(database, query.order_by(_OWN.number.desc()).limit(limit))
    return [job.ended_s - job.began_s for job in found]


def move_job(database: Database, job: TuningJob, before: Collection[JobStatus], **values: Any) -> bool:
    """Change a job's status and other values if its status is still one of `before`; return whether it was.

    Raises WorkspaceError.
    """
    which = _OWN.id == job.id, _OWN.status.in_(before)
    with database.transaction("to record the state of a fine-tuning job") as connection:
        return connection.execute(sql.update(TUNING_JOBS).where(*which).values(values)).rowcount == 1


def add_event(database: Database, job: TuningJob, message: str, level: EventLevel = "info") -> None:
    """Add an event of a job. Raises WorkspaceError."""
    row = {"job": job.id, "tenant": job.tenant, "at_s": time.time(), "level": level, "message": message}
    with database.transaction("to record an event of a fine-tuning job") as connection:
        connection.execute(sql.insert(TUNING_EVENTS), row)


def list_events(database: Database, job_id: str) -> list[JobEvent]:
    """Return the events of a job, the newest first. Raises WorkspaceError."""
    columns = [TUNING_EVENTS.c[name] for name in JobEvent.__slots__]
    query = sql.select(*columns).where(TUNING_EVENTS.c.job == job_id).order_by(TUNING_EVENTS.c.id.desc())
    with database.connect("the events of a fine-tuning job") as connection:
        return [JobEvent(**dict(row)) for row in connection.execute(query).mappings()]


def list_untold_jobs(database: Database, place: str, since_s: float) -> list[TuningJob]:
    """Return the jobs of a place that ended after a time and have no notice yet, the first to end first.

    Raises WorkspaceError.
    """
    is_told = sql.exists().where(TUNING_NOTICES.c.job == _OWN.id)
    ended = _OWN.status.not_in(ACTIVE), _OWN.ended_s > since_s
    query = sql.select(TUNING_JOBS).where(_OWN.place == place, *ended, ~is_told)
    return _read(database, query.order_by(_OWN.ended_s))


def mark_told(database: Database, job: TuningJob) -> None:
    """Record that the end of a job was told. Idempotent. Raises WorkspaceError."""
    row = {"job": job.id, "tenant": job.tenant, "told_s": time.time()}
    with database.transaction("to record a notice of a fine-tuning job") as connection:
        connection.execute(make_insert(connection, TUNING_NOTICES).values(row).on_conflict_do_nothing())


def _see(viewer: str | None) -> Sequence[sql.ColumnElement[bool]]:
    return [] if viewer is None else [_OWN.tenant == viewer]


def _read(database: Database, query: "sql.Select[Any]") -> list[TuningJob]:
    with database.connect("the fine-tuning jobs") as connection:
        rows = connection.execute(query).mappings().all()
    return [TuningJob(**{**row, "request": json.loads(row["request"])}) for row in rows]
