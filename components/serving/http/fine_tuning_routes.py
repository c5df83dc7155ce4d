"""The routes of OpenAI's fine-tuning jobs. A tenant's key sees its own jobs, an admin key all.

Knows HTTP and the desk of jobs; does not know how a job is run.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from components.rollout.store.tuning_jobs import TuningJob, list_events, list_jobs
from components.serving.errors import ErrorBody
from components.serving.http.api_route import ApiRoute
from components.serving.http.auth import Caller
from components.serving.http.dependencies import CallerDependency, ServiceDependency
from components.serving.http.openai_fine_tuning import (
    JOBS_PATH,
    CheckpointList,
    EventList,
    Job,
    JobList,
    JobRequest,
    to_checkpoints,
    to_event,
    to_job,
)
from components.serving.http.paging import take_page
from components.serving.http.service import Service

_Limit = Annotated[int, Query(ge=1, le=1000)]

router = APIRouter(
    route_class=ApiRoute,
    tags=["Fine-tuning"],
    responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}},
)


@router.post(JOBS_PATH)
async def create(body: JobRequest, caller: CallerDependency, service: ServiceDependency) -> Job:
    """Retrain a tenant with uploaded files. The tenant's jobs, and all of a workspace's, run one after the other."""
    return await _answer(service, caller, await service.tuning_desk.create(caller, body, service.params))


@router.get(JOBS_PATH)
async def jobs(
    caller: CallerDependency, service: ServiceDependency, after: str | None = None, limit: _Limit = 20
) -> JobList:
    """List the caller's jobs, the newest first."""
    found = await service.fine_tuning_pool.run(lambda: list_jobs(service.database, caller.tenant), caller.tenant or "")
    page, has_more = take_page(found, lambda job: job.id, after, limit)
    return JobList(data=[await _answer(service, caller, job) for job in page], has_more=has_more)


@router.get(JOBS_PATH + "/{job_id}")
async def job(job_id: str, caller: CallerDependency, service: ServiceDependency) -> Job:
    """Return one of the caller's jobs."""
    return await _answer(service, caller, await service.tuning_desk.require(caller, job_id))


@router.post(JOBS_PATH + "/{job_id}/cancel")
async def cancel(job_id: str, caller: CallerDependency, service: ServiceDependency) -> Job:
    """Cancel a job. A retraining that runs is ended; data that it has taken stay in the dataset."""
    desk = service.tuning_desk
    return await _answer(service, caller, await desk.cancel(caller, await desk.require(caller, job_id)))


@router.get(JOBS_PATH + "/{job_id}/events")
async def events(
    job_id: str, caller: CallerDependency, service: ServiceDependency, after: str | None = None, limit: _Limit = 20
) -> EventList:
    """List what happened to a job, the newest first."""
    await service.tuning_desk.require(caller, job_id)
    found = await service.fine_tuning_pool.run(lambda: list_events(service.database, job_id), caller.tenant or "")
    page, has_more = take_page([to_event(event) for event in found], lambda event: event.id, after, limit)
    return EventList(data=list(page), has_more=has_more)


@router.get(JOBS_PATH + "/{job_id}/checkpoints")
async def checkpoints(job_id: str, caller: CallerDependency, service: ServiceDependency) -> CheckpointList:
    """List the result of a job: one checkpoint, if it succeeded."""
    return to_checkpoints(await service.tuning_desk.require(caller, job_id))


async def _answer(service: Service, caller: Caller, job: TuningJob) -> Job:
    return to_job(job, await service.tuning_desk.estimate_finish(caller, job))
