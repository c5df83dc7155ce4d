"""OpenAI's fine-tuning jobs as data types. A field that is not supported is refused, never ignored.

Source: https://platform.openai.com/docs/api-reference/fine-tuning.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from components.fine_tuning.train_values import AUTO, HYPERPARAMETERS
from components.rollout.store.tuning_jobs import EventLevel, JobEvent, JobStatus, TuningJob
from components.serving.http.openai_fields import StrictBody, allow_only

JOBS_PATH = "/v1/fine_tuning/jobs"
_MAX_METADATA = 16
_Auto = Literal["auto"]
_FileId = Annotated[str, Field(min_length=1, max_length=100)]
_MetadataKey = Annotated[str, Field(max_length=64)]
_MetadataValue = Annotated[str, Field(max_length=512)]


class Hyperparameters(StrictBody):
    """Values of the section `train`; auto: as the tenant has them."""

    n_epochs: _Auto | Annotated[int, Field(ge=1, le=50)] = Field(default=AUTO, description="sets train.max_steps")
    batch_size: _Auto | Annotated[int, Field(ge=1, le=256)] = Field(default=AUTO, description="sets train.batch_size")
    learning_rate_multiplier: _Auto | Annotated[float, Field(gt=0, le=100)] = Field(
        default=AUTO, description="of train.learning_rate in params.yaml"
    )


class SupervisedMethod(StrictBody):
    """Training on the answers of the examples."""

    hyperparameters: Hyperparameters | None = None


class Method(StrictBody):
    """How to train; only supervised."""

    type: Literal["supervised"]
    supervised: SupervisedMethod | None = None


class JobRequest(StrictBody):
    """A request for a fine-tuning job."""

    model: str = Field(min_length=1, max_length=200, description="the base's name, or a tenant")
    training_file: _FileId
    validation_file: _FileId | None = Field(default=None, description="halved into validation and test examples")
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="the tenant, if nothing else names it"
    )
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=_MAX_METADATA)] | None = Field(
        default=None, description="metadata.tenant names the tenant"
    )
    hyperparameters: Hyperparameters | None = Field(default=None, description="OpenAI's older place for these")
    method: Method | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    integrations: Annotated[list[dict[str, Any]] | None, allow_only(None, [])] = None

    @model_validator(mode="after")
    def _check_one_place(self) -> Self:
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError("hyperparameters or method, not both")
        return self

    def to_stored(self) -> dict[str, Any]:
        """Return what is kept of the request beside the tenant and the files."""
        method = self.method.supervised if self.method else None
        given = self.hyperparameters or (method.hyperparameters if method else None) or Hyperparameters()
        return {
            "model": self.model,
            "suffix": self.suffix,
            "metadata": self.metadata or {},
            "seed": self.seed,
            "hyperparameters": given.model_dump(),
        }


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class JobEstimate(BaseModel):
    """About what a job's training takes, as estimated when it was created."""

    tokens: int
    device_seconds: float | None = Field(description="null: this workspace has not trained yet")
    cost: str | None = Field(default=None, description="of the device seconds; null: without `prices`, or unknown")
    currency: str | None = None


class Job(BaseModel):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    estimated_finish: int | None = Field(description="by the last jobs of this server; null: it has ended, or no idea")
    status: JobStatus
    model: str
    fine_tuned_model: str | None = Field(description="tenant@version, once the gate has accepted it")
    training_file: str
    validation_file: str | None
    trained_tokens: int | None
    estimate: JobEstimate | None = Field(description="not in OpenAI's API; null: of an earlier release")
    error: JobError | None
    hyperparameters: dict[str, int | float | str]
    method: dict[str, Any]
    metadata: dict[str, str]
    seed: int
    organization_id: str = "prefixfleet"
    result_files: list[str] = []
    integrations: list[Any] = []


class JobList(BaseModel):
    """A page of the caller's jobs."""

    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool


class Event(BaseModel):
    """What happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: EventLevel
    message: str
    type: Literal["message"] = "message"


class EventList(BaseModel):
    """A page of a job's events, the newest first."""

    object: Literal["list"] = "list"
    data: list[Event]
    has_more: bool


class Checkpoint(BaseModel):
    """The result of a job; no state before it is kept to be served."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float]


class CheckpointList(BaseModel):
    """A job's checkpoints: one, if it succeeded."""

    object: Literal["list"] = "list"
    data: list[Checkpoint]
    has_more: Literal[False] = False
    first_id: str | None
    last_id: str | None


def to_job(job: TuningJob, estimated_finish_s: float | None) -> Job:
    """Return a job in OpenAI's form."""
    request, error = job.request, None
    if job.error_code:
        param = "training_file" if job.error_code == "invalid_files" else None
        error = JobError(code=job.error_code, message=job.error_message, param=param)
    hyperparameters = {name: request["hyperparameters"][name] for name in HYPERPARAMETERS}
    return Job(
        id=job.id,
        created_at=int(job.created_s),
        finished_at=int(job.ended_s) or None,
        estimated_finish=None if estimated_finish_s is None else int(estimated_finish_s),
        status=job.status,
        model=request["model"],
        fine_tuned_model=name_model(job),
        training_file=job.training_file,
        validation_file=job.validation_file or None,
        trained_tokens=job.trained_tokens or None,
        estimate=request.get("estimate") or None,
        error=error,
        hyperparameters=hyperparameters,
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        metadata=request["metadata"],
        seed=request["seed"] or 0,
    )


def name_model(job: TuningJob) -> str | None:
    """Return the name with which the job's version is asked for; None: there is none."""
    return f"{job.tenant}@{job.version}" if job.status == "succeeded" and job.version else None


def to_event(event: JobEvent) -> Event:
    """Return an event in OpenAI's form."""
    return Event(id=f"ftevent-{event.id}", created_at=int(event.at_s), level=event.level, message=event.message)


def to_checkpoints(job: TuningJob) -> CheckpointList:
    """Return the job's checkpoints."""
    model = name_model(job)
    if model is None:
        return CheckpointList(data=[], first_id=None, last_id=None)
    made = Checkpoint(
        id=f"ftckpt-{job.id.removeprefix('ftjob-')}",
        created_at=int(job.ended_s),
        fine_tuning_job_id=job.id,
        fine_tuned_model_checkpoint=model,
        step_number=job.steps,
        metrics={"step": float(job.steps)},
    )
    return CheckpointList(data=[made], first_id=made.id, last_id=made.id)
