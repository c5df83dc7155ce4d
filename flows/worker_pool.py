"""Prefect's side of a work pool: the deployment that runs shards, their runs, and the workers that poll the pool.

Each version of the code has a work queue of its own, so a worker with other code is never given a shard. Knows no
tenant and no exchange.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from components.stages.sharding.preflight import Problem
from components.stages.sharding.sent_shard import RunPhase
from flows.worker_names import make_queue_name

if TYPE_CHECKING:
    from prefect.client.orchestration.routes import ServerRoutes

SHARD_FLOW = "train-shard"
ENTRYPOINT = "flows.worker_shard.train_shard"
SHARD_COMMAND = "python -m prefect.engine"
"""Runs a shard in one process: without a command, Prefect starts another one before it that looks for pull steps."""
_PROCESS_POOL = "process"
REFUSED = "Refused"
"""Name of the failed state of a run whose worker cannot do any shard of this parent: other code, another base."""
_WORKSPACE_TAG, SHARD_TAG = "prefixfleet-workspace:", "prefixfleet-shard:"
"""A run has the tags of its workspace and of its shard: these words and the id."""
_OPEN_STATES = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING)
_ONLINE = "ONLINE"
_PAGE = 200
"""Runs that the server returns at once."""
_LARGEST_CLOCK_DIFFERENCE = timedelta(hours=2)
"""Runs are due this long before they are sent: a worker takes only what is due by its own clock."""
_PHASES: dict[StateType, RunPhase] = {
    StateType.SCHEDULED: "waiting",
    StateType.PENDING: "starting",
    StateType.RUNNING: "running",
    StateType.PAUSED: "running",
    StateType.CANCELLING: "cancelling",
    StateType.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class ShardState:
    """The state of a run."""

    phase: RunPhase
    message: str


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run of this workspace's shards that has not ended, perhaps of a parent that was killed."""

    run_id: str
    name: str
    shard_id: str


class WorkerPool:
    """One work pool, for the shards of one workspace. Methods raise httpx.HTTPError if Prefect does not answer."""

    def __init__(self, name: str, code_version: str, workspace_id: str) -> None:
        """Ask nothing yet."""
        self.name, self.queue = name, make_queue_name(code_version)
        self._code_version, self._workspace_tag = code_version, f"{_WORKSPACE_TAG}{workspace_id}"

    def find_problem(self) -> Problem | None:
        """Return why the pool cannot run shards; None if it can."""
        with _open_client() as client:
            try:
                pool = client.read_work_pool(self.name)
            except ObjectNotFound:
                known = ", ".join(sorted(one.name for one in client.read_work_pools())) or "none"
                create = f"`prefect work-pool create {self.name} --type process`"
                fix = f"run {create}, and start a worker: {self.start_hint}"
                return Problem(f"no Prefect work pool {self.name!r} (there are: {known})", fix)
        if pool.is_paused:
            return Problem(f"work pool {self.name!r} paused", f"run `prefect work-pool resume {self.name}`")
        return None

    @property
    def start_hint(self) -> str:
        """The command that starts a worker."""
        return f"`prefixfleet worker start --pool {self.name}` on a machine with a device"

    def ensure_deployment(self) -> None:
        """Make the deployment of the shards' flow in this pool; one that exists already keeps its settings.

        Pools of other types (kubernetes) name the command in their own template.
        """
        with _open_client() as client:
            try:
                known = client.read_deployment_by_name(f"{SHARD_FLOW}/{self.name}")
                if known.entrypoint == ENTRYPOINT and known.work_pool_name == self.name:
                    return
            except ObjectNotFound:
                pass
            is_process_pool = client.read_work_pool(self.name).type == _PROCESS_POOL
            client.create_deployment(
                client.create_flow_from_name(SHARD_FLOW),
                self.name,
                entrypoint=ENTRYPOINT,
                work_pool_name=self.name,
                job_variables={"command": SHARD_COMMAND} if is_process_pool else None,
                description="Train and evaluate one shard of a fleet; started by the flow retrain.",
                enforce_parameter_schema=False,
            )

    def send(self, shard_id: str, exchange: str, title: str) -> str:
        """Start a run of a shard; return its id. The same shard id gives the same run."""
        run: Any = run_deployment(
            f"{SHARD_FLOW}/{self.name}",
            parameters={"exchange": exchange, "shard": shard_id},
            flow_run_name=title,
            timeout=0,
            scheduled_time=datetime.now(UTC) - _LARGEST_CLOCK_DIFFERENCE,
            tags=[self._workspace_tag, f"{SHARD_TAG}{shard_id}"],
            idempotency_key=shard_id,
            work_queue_name=self.queue,
        )
        return str(run.id)

    def read_states(self, run_ids: Sequence[str]) -> dict[str, ShardState]:
        """Return run id -> state. Runs that were deleted count as cancelled."""
        found: dict[str, ShardState] = {}
        with _open_client() as client:
            for start in range(0, len(run_ids), _PAGE):
                wanted = FlowRunFilter.model_validate({"id": {"any_": run_ids[start : start + _PAGE]}})
                runs = client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE)
                found |= {str(run.id): _read_state(run) for run in runs}
        return {run_id: found.get(run_id, ShardState("cancelled", "its run was deleted")) for run_id in run_ids}

    def find_open(self) -> list[OpenRun]:
        """Return the runs of this workspace's shards that have not ended."""
        wanted = FlowRunFilter.model_validate(
            {"tags": {"all_": [self._workspace_tag]}, "state": {"type": {"any_": list(_OPEN_STATES)}}}
        )
        runs: list[FlowRun] = []
        with _open_client() as client:
            while page := client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(runs)):
                runs += page
        return [OpenRun(str(run.id), run.name, _read_shard_id(run.tags)) for run in runs]

    def cancel(self, run_ids: Iterable[str], *, reason: str, is_lost: bool = False) -> None:
        """Cancel runs. `is_lost`: nobody would confirm it, so they count as cancelled at once."""
        with _open_client() as client:
            for run_id in run_ids:
                run = client.read_flow_run(UUID(run_id))
                if run.state is not None and run.state.is_final():
                    continue
                is_taken = run.state is not None and run.state.type is not StateType.SCHEDULED
                state: State[Any] = (
                    Cancelling(message=reason) if is_taken and not is_lost else Cancelled(message=reason)
                )
                client.set_flow_run_state(UUID(run_id), state, force=True)

    def read_last_poll(self) -> str:
        """Return a text that changes whenever a worker polls this code's queue; "" if none ever did."""
        with _open_client() as client:
            path: ServerRoutes = "/work_pools/{work_pool_name}/queues/filter"
            queues = client.request("POST", path, path_params={"work_pool_name": self.name}, json={}).json()
        return next((str(one["last_polled"]) for one in queues if one["name"] == self.queue), "")

    def describe_workers(self) -> str:
        """Return the online workers of the pool; their names end with their code version."""
        with _open_client() as client:
            path: ServerRoutes = "/work_pools/{work_pool_name}/workers/filter"
            answer = client.request("POST", path, path_params={"work_pool_name": self.name}, json={})
        workers: list[dict[str, Any]] = answer.json()
        online = sorted(str(one["name"]) for one in workers if one.get("status") == _ONLINE)
        named = f"online workers: {', '.join(online)}" if online else "no worker of the pool is online"
        return f"{named}; this parent's code version is {self._code_version}"


def _open_client() -> SyncPrefectClient:
    return get_client(sync_client=True)


def _read_state(run: FlowRun) -> ShardState:
    state = run.state
    if state is None:
        return ShardState("waiting", "")
    phase = _PHASES.get(state.type, "ended")
    if state.type is StateType.FAILED and state.name == REFUSED:
        phase = "refused"
    return ShardState(phase, state.message or state.name or "")


def _read_shard_id(tags: Iterable[str]) -> str:
    return next((tag.removeprefix(SHARD_TAG) for tag in tags if tag.startswith(SHARD_TAG)), "")
