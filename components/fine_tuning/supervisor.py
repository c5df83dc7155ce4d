"""Looks after the jobs of a workspace: checks their files, starts the oldest, and notices what has ended or died.

All that it knows is in the database and in the lock of the job's process, so a restarted server goes on where the last
one stopped. Knows no HTTP.
"""

import hashlib
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.errors import BaseModelError, ConfigError, DataError, WorkspaceError
from components.fine_tuning import endings
from components.fine_tuning.estimates import estimate_job
from components.fine_tuning.job_files import check_job_files
from components.fine_tuning.job_process import JobProcess
from components.fine_tuning.notices import JobNotices
from components.fine_tuning.preparation import get_job_folder, undo_unless_succeeded
from components.fine_tuning.uploads import Uploads
from components.model.text.chat_files import require_chat_template
from components.rollout.store.tuning_jobs import (
    ACTIVE,
    WAITING,
    TuningJob,
    add_event,
    find_job,
    list_active_jobs,
    move_job,
)
from components.rollout.store.uploaded_files import UploadedFile
from components.stages.workspace import Workspace
from components.storage.database import Database

_KILL_AFTER_S = 30.0
_LOGGER = "prefixfleet.serving"


class JobSupervisor:
    """The jobs of one workspace; safe to use from many threads. Methods raise WorkspaceError if the database fails."""

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        uploads: Uploads,
        make_command: Callable[[Path, str], Sequence[str]] | None = None,
        notices: JobNotices | None = None,
    ) -> None:
        """`make_command`: from the workspace's folder and a job's id to the command of its process."""
        self._workspace, self._database, self._uploads = workspace, database, uploads
        self._make_command, self._notices = make_command or _make_command, notices
        self._lock = threading.Lock()
        self._process: JobProcess | None = None
        """None: before the first look."""
        self._stopping_since_s: dict[str, float] = {}
        """Id of a job that has ended and whose process lives still -> when it was first seen, by the timer."""

    @property
    def place(self) -> str:
        """Names the machine and the workspace, for jobs that only they can run."""
        return hashlib.sha256(f"{socket.gethostname()}\0{self._workspace.root}".encode()).hexdigest()

    def estimate(self, tenant: str, request: Mapping[str, Any], file: UploadedFile) -> dict[str, Any]:
        """See `estimate_job`; without an entry if the parameters cannot be read, which ends the job when it begins."""
        try:
            return estimate_job(self._workspace, tenant, request, file)
        except ConfigError as problem:
            logging.getLogger(_LOGGER).warning("a job of %s cannot be estimated: %s", tenant, problem)
            return {}

    def cancel(self, job: TuningJob) -> bool:
        """Cancel a job; return False if it had ended."""
        if not move_job(self._database, job, ACTIVE, status="cancelled", ended_s=time.time()):
            return False
        add_event(self._database, job, "cancelled")
        return True

    def look(self) -> bool:
        """Do what is to be done now; return whether to look again soon.

        That is so while a job is open, a process lives, or a notice was not accepted.
        """
        with self._lock:
            process = self._process = self._process or JobProcess(get_job_folder(self._workspace.root))
            with process.hold_if_free() as is_free:
                if is_free:
                    self._stopping_since_s.clear()
                    self._settle_dead()
                    undo_unless_succeeded(self._workspace)
            if not is_free and (alive := process.find_job()):
                self._stop_if_ended(process, alive)
            for job in self._list_open():
                if job.status == "validating_files":
                    self._check_files(job)
            if is_free and (queued := [job for job in self._list_open() if job.status == "queued"]):
                self._start(process, queued[0])
            has_notices = self._notices is not None and self._notices.send_due(self.place)
            return bool(self._list_open()) or not is_free or has_notices

    def _list_open(self) -> list[TuningJob]:
        return list_active_jobs(self._database, self.place)

    def _stop_if_ended(self, process: JobProcess, job_id: str) -> None:
        job = find_job(self._database, job_id, None)
        if job is None or job.status in ACTIVE:
            return
        is_new, now_s = job_id not in self._stopping_since_s, time.monotonic()
        since_s = self._stopping_since_s.setdefault(job_id, now_s)
        if is_new and job.status == "cancelled":
            process.stop(job_id, signal.SIGTERM)  # once: a second one would end it without its last steps
        elif now_s - since_s > _KILL_AFTER_S:
            process.stop(job_id, signal.SIGKILL)

    def _settle_dead(self) -> None:
        """Record the end of the jobs that should run; the caller holds the lock of their process."""
        for job in self._list_open():
            if job.status == "running":
                end = endings.find_recorded_end(self._workspace, job) or endings.make_failure(
                    endings.PROCESS_ENDED, "the process of the job ended without a result", self._workspace.root
                )
                endings.record_end(self._workspace, job, end, time.time())

    def _check_files(self, job: TuningJob) -> None:
        workspace = self._workspace
        try:
            if check_job_files(self._database, self._uploads, workspace.params.data, job):
                require_chat_template(workspace.base_config)
        except (BaseModelError, DataError) as problem:
            error = {"error_code": endings.INVALID_FILES, "error_message": str(problem)}
            if move_job(self._database, job, WAITING, status="failed", ended_s=time.time(), **error):
                add_event(self._database, job, str(problem), "error")
            return
        except WorkspaceError as problem:
            logging.getLogger(_LOGGER).warning("%s: its files are checked again later: %s", job.id, problem)
            return
        if move_job(self._database, job, ["validating_files"], status="queued"):
            add_event(self._database, job, "the files were checked; the job waits for its turn")

    def _start(self, process: JobProcess, job: TuningJob) -> None:
        def claim() -> bool:
            return move_job(self._database, job, ["queued"], status="running", began_s=time.time())

        root = self._workspace.root
        log = get_job_folder(root) / job.tenant / f"{job.id}.log"
        try:
            if process.start(job.id, self._make_command(root, job.id), log, claim):
                add_event(self._database, job, "the retraining began")
        except WorkspaceError as problem:
            logging.getLogger(_LOGGER).error("%s: %s", job.id, problem)
            endings.record_end(self._workspace, job, endings.describe_error(problem, root), time.time())


def _make_command(root: Path, job_id: str) -> Sequence[str]:
    return [sys.executable, "-P", "-m", "cli.main", "-C", str(root), "fine-tune", job_id]
