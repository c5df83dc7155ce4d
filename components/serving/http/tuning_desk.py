"""Creates and reads fine-tuning jobs for callers, and looks after them in the background. Does not know routes."""

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from components.config import TENANT_ID, Params
from components.fine_tuning.supervisor import JobSupervisor
from components.fine_tuning.tenant_choice import choose_tenant
from components.rollout.store.tuning_jobs import (
    ACTIVE,
    TuningJob,
    create_job,
    find_job,
    list_active_jobs,
    read_durations,
)
from components.rollout.store.uploaded_files import UploadedFile, find_file
from components.serving.errors import RefusalError
from components.serving.fleet.versions import FleetVersions
from components.serving.http.auth import Caller
from components.serving.http.openai_fine_tuning import JobRequest
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database

_LOOK_SECONDS = 1.0
_LAST_DURATIONS = 10
_RETRY_SECONDS = 60.0
_Result = TypeVar("_Result")


class TuningDesk:
    """The fine-tuning jobs of one server; use it from one event loop."""

    def __init__(
        self,
        supervisor: JobSupervisor,
        database: Database,
        pool: FairThreadPool,
        fleet: FleetVersions,
        data: Path,
        get_base_names: Callable[[], set[str]],
    ) -> None:
        """`data` is the workspace's data folder; `get_base_names` returns what clients may call the base."""
        self._supervisor, self._database, self._pool, self._fleet = supervisor, database, pool, fleet
        self._data, self._get_base_names = data, get_base_names
        self._looks = FairThreadPool("fine-tuning jobs")
        self._wake = asyncio.Event()
        self._followed: set[str] = set()
        """Jobs that were seen to be open, whose versions the server may not have read yet."""

    async def run_forever(self) -> None:
        """Look after the jobs: at the start, while one is open, and when one is created or cancelled."""
        while True:
            self._wake.clear()
            is_busy = await self._looks.run(self._supervisor.look)
            if is_busy:
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                await self._wake.wait()

    async def create(self, caller: Caller, body: JobRequest, params: Params) -> TuningJob:
        """Create a job.

        Raises:
            RefusalError: 400, a field cannot be used; 429, the tenant has too many open jobs.
            DataError: the request names no tenant, or two.
        """
        tenant = choose_tenant(
            body.model,
            body.suffix,
            body.metadata or {},
            key_tenant=caller.tenant,
            is_base=lambda name: name in self._get_base_names(),
            is_known=self._is_known,
        )
        training = await self._require_file(caller, "training_file", body.training_file)
        if body.validation_file is not None:
            await self._require_file(caller, "validation_file", body.validation_file)
        request = body.to_stored()
        request["estimate"] = await self._run(caller, lambda: self._supervisor.estimate(tenant, request, training))
        max_open = params.for_tenant(tenant).access.max_tuning_jobs
        job = await self._run(
            caller,
            lambda: create_job(
                self._database,
                tenant=tenant,
                place=self._supervisor.place,
                request=request,
                training_file=body.training_file,
                validation_file=body.validation_file or "",
                max_waiting=max_open,
            ),
        )
        if job is None:
            wanted, fix = f"at most {max_open} open jobs (access.max_tuning_jobs)", "wait until one has ended"
            raise RefusalError(429, wanted, "as many as that", fix, code="quota", retry_after=_RETRY_SECONDS)
        self._wake.set()
        self._followed.add(job.id)
        return job

    async def require(self, caller: Caller, job_id: str) -> TuningJob:
        """Return a job that the caller may see. Raises RefusalError: 404."""
        job = await self._run(caller, lambda: find_job(self._database, job_id, caller.tenant))
        if job is None:
            fix = "see GET /v1/fine_tuning/jobs"
            raise RefusalError(404, "the id of one of your jobs", repr(job_id[:100]), fix)
        if job.status in ACTIVE:
            self._followed.add(job.id)
        elif job.id in self._followed:
            await self._fleet.refresh()  # its version is used at once
            self._followed.discard(job.id)
        return job

    async def cancel(self, caller: Caller, job: TuningJob) -> TuningJob:
        """Cancel a job and return it. Raises RefusalError: 400, it has ended."""
        if not await self._run(caller, lambda: self._supervisor.cancel(job)):
            got = f"one that is {(await self.require(caller, job.id)).status}"
            raise RefusalError(400, "a job that has not ended", got, "create another job", code="invalid_state")
        self._wake.set()
        return await self.require(caller, job.id)

    async def estimate_finish(self, caller: Caller, job: TuningJob) -> float | None:
        """Return when an open job will end, in seconds since 1970; None: it has ended, or no job has yet."""
        if job.status not in ACTIVE:
            return None
        return await self._run(caller, lambda: self._estimate(job))

    def _estimate(self, job: TuningJob) -> float | None:
        durations = read_durations(self._database, job.place, _LAST_DURATIONS)
        if not durations:
            return None
        earlier = [one for one in list_active_jobs(self._database, job.place) if one.number <= job.number]
        began_s = next((one.began_s for one in earlier if one.began_s), job.created_s)
        return began_s + statistics.median(durations) * max(1, len(earlier))

    async def _require_file(self, caller: Caller, name: str, file_id: str) -> UploadedFile:
        file = await self._run(caller, lambda: find_file(self._database, file_id, caller.tenant))
        if file is None:
            wanted = f"{name}: the id of one of your files"
            raise RefusalError(400, wanted, repr(file_id), "see GET /v1/files", code="invalid_parameter")
        return file

    def _is_known(self, tenant: str) -> bool:
        is_id = TENANT_ID.fullmatch(tenant) is not None
        return is_id and (tenant in self._fleet.snapshot.champions or (self._data / tenant).is_dir())

    async def _run(self, caller: Caller, work: Callable[[], _Result]) -> _Result:
        return await self._pool.run(work, caller.tenant or "")
