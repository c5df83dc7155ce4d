"""What started retrainings, for people to read: causes that were opened, and jobs of the fine-tuning API.

A job has a table of its own, since no later run may begin again what a client cancelled; here it is shown as a cause.
Knows no run and no page.
"""

from datetime import UTC, datetime

from components.rollout.store.causes import Cause, read_newest_causes, read_tenant_causes
from components.rollout.store.tuning_jobs import ACTIVE, TuningJob, list_jobs
from components.storage.database import Database


def list_causes(database: Database, limit: int, tenant: str | None = None) -> list[Cause]:
    """Return what was opened last, newest first, of all tenants or of one. Raises WorkspaceError."""
    opened = read_newest_causes(database, limit) if tenant is None else read_tenant_causes(database, tenant, limit)
    jobs = [_describe_job(job) for job in list_jobs(database, tenant, limit)]
    return sorted([*opened, *jobs], key=lambda one: datetime.fromisoformat(one.opened_at), reverse=True)[:limit]


def _describe_job(job: TuningJob) -> Cause:
    return Cause(
        tenant=job.tenant,
        id=job.id,
        kind="fine-tuning",
        why=f"{job.trigger} asked for it",
        opened_at=_format_time(job.created_s),
        tries=int(job.began_s > 0),
        tried_s=job.began_s,
        closed_at="" if job.status in ACTIVE else _format_time(job.ended_s),
        result=_describe_end(job),
    )


def _describe_end(job: TuningJob) -> str:
    if job.status in ACTIVE:
        return ""
    if job.status == "succeeded":
        return f"succeeded: version {job.version}"
    return f"{job.status}: {job.error_message}" if job.error_message else job.status


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
