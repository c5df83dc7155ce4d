"""How a job ended, from the result of its run, from the records of runs, or from the error that stopped it.

What a client reads of it names no path of the server. Knows no process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.errors import BaseModelError, PrefixFleetError, RegistryError, WorkspaceError
from components.registry.manifest import read_manifest
from components.rollout.store.runs import RunTenant, find_run_tenant
from components.rollout.store.tuning_jobs import TuningJob, add_event, move_job
from components.stages.outcome import TenantOutcome
from components.stages.stamps import TRAINING_FILE, read_json
from components.stages.workspace import Workspace

GATE_REJECTED, TRAINING_FAILED, SERVER_FAILED = "gate_rejected", "training_failed", "server_error"
BUDGET_SPENT = "budget_spent"
_FAILURE_CODES = {"failed": TRAINING_FAILED, "rejected": GATE_REJECTED, "skipped": BUDGET_SPENT}
"""Result of a run -> code of the job's error."""
PROCESS_ENDED, INVALID_FILES = "process_ended", "invalid_files"
_OPERATORS = (WorkspaceError, RegistryError, BaseModelError)
_SERVER_MESSAGE = (
    "the server's disk, database, registry or base failed; your operator finds the details in the job's log"
)


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job: with a version, or with an error."""

    version: str = ""
    trained_tokens: int = 0
    steps: int = 0
    error_code: str = ""
    error_message: str = ""


def read_end(
    workspace: Workspace,
    job: TuningJob,
    outcomes: Sequence[TenantOutcome],
    rejected: Mapping[str, str],
    refused: Mapping[str, str],
) -> JobEnd:
    """Return the end of a job whose run ended in this workspace. Raises PrefixFleetError: a result cannot be read."""
    failures = [one for one in outcomes if one.tenant == job.tenant and one.state == "failed"]
    if failures:
        return make_failure(TRAINING_FAILED, f"failed to {failures[0].stage}: {failures[0].detail}", workspace.root)
    if job.tenant in refused:
        return make_failure(BUDGET_SPENT, refused[job.tenant], workspace.root)
    if job.tenant in rejected:
        return make_failure(GATE_REJECTED, rejected[job.tenant], workspace.root)
    folder = workspace.get_output_folder("train", job.tenant)
    found = workspace.registry.find_by_sha256({job.tenant: read_manifest(folder).sha256})
    if job.tenant not in found:
        return make_failure(TRAINING_FAILED, "the run made no version", workspace.root)
    measured = read_json(folder / TRAINING_FILE) or {}
    tokens, steps = (int(measured.get(name, 0)) for name in ("tokens", "steps"))
    return JobEnd(found[job.tenant].version, tokens, steps)


def find_recorded_end(workspace: Workspace, job: TuningJob) -> JobEnd | None:
    """Return the end of a job by the record of its run; None: no run of it has ended.

    Raises:
        WorkspaceError, RegistryError: the database or MLflow does not answer.
    """
    found = find_run_tenant(workspace.database, job.trigger, job.tenant)
    if found is None:
        return None
    if found.result in _FAILURE_CODES:
        return make_failure(_FAILURE_CODES[found.result], found.detail, workspace.root)
    return JobEnd(_find_version(workspace, found), found.training_tokens)


def describe_error(problem: PrefixFleetError, root: Path) -> JobEnd:
    """Return the end of a job that an error stopped."""
    if isinstance(problem, _OPERATORS):
        return make_failure(SERVER_FAILED, _SERVER_MESSAGE, root)
    return make_failure(TRAINING_FAILED, str(problem), root)


def make_failure(code: str, message: str, root: Path) -> JobEnd:
    """Return the end of a job that failed; paths become relative to the workspace."""
    return JobEnd(error_code=code, error_message=message.replace(f"{root}/", ""))


def record_end(workspace: Workspace, job: TuningJob, end: JobEnd, now_s: float) -> None:
    """Record the end of a running job, unless it was cancelled meanwhile. Raises WorkspaceError."""
    values = {name: getattr(end, name) for name in JobEnd.__slots__}
    status = "failed" if end.error_code else "succeeded"
    if move_job(workspace.database, job, ["running"], status=status, ended_s=now_s, **values):
        if end.error_code:
            add_event(workspace.database, job, end.error_message, "error")
        else:
            add_event(workspace.database, job, f"succeeded: {job.tenant}@{end.version} passed the gate")


def _find_version(workspace: Workspace, found: RunTenant) -> str:
    if found.result == "promoted":
        return found.detail.removeprefix("version ")
    versions = workspace.registry.find_versions(found.tenant)
    return versions[0].version if versions else ""
