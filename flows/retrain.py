"""The main flow: version -> plan -> train -> evaluate -> gate -> register -> roll out.

Order, retries and limits stand here; what each step does stands in components/stages. One machine's run leaves the same
files as `dvc repro` and records them with DVC.
"""

from dataclasses import dataclass, field
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import task_run

from components.registry.mlflow.versions import CHAMPION, Version
from components.stages import dataset, gate, register
from components.stages.outcome import TenantOutcome, raise_on_failures
from components.stages.plan import Plan, plan
from components.stages.progress import join_abbreviated, log_info
from components.stages.reports.results_table import TenantResult
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.report import publish_results
from flows.shard import shard
from flows.states import make_end_state, read_result

_ROLLOUT_RETRIES = 2
"""After the first, of rolling out."""


@dataclass
class RetrainResult:
    """What a run did, tenant by tenant."""

    version: str
    plan: str
    outcomes: list[TenantOutcome] = field(default_factory=list)
    promoted: dict[str, str] = field(default_factory=dict)
    rows: list[TenantResult] = field(default_factory=list)

    def list_passed(self, stage: str) -> list[str]:
        """The tenants that came through a stage, by work or because their results stood."""
        return [one.tenant for one in self.outcomes if one.stage == stage and one.state != "failed"]

    def list_done(self, stage: str) -> list[str]:
        """The tenants for whom a stage had work to do and did it."""
        return [one.tenant for one in self.outcomes if one.stage == stage and one.state == "done"]

    @property
    def failures(self) -> list[TenantOutcome]:
        """What went wrong."""
        return [one for one in self.outcomes if one.state == "failed"]

    @property
    def sentence(self) -> str:
        """The run in one line."""
        rejected = [row.tenant for row in self.rows if row.verdict == "rejected"]
        parts = [f"{len(self.list_done('train'))} trained", f"{len(self.promoted)} promoted"]
        parts += [f"{len(rejected)} rejected ({join_abbreviated(rejected)})"] if rejected else []
        failures = [f"{one.tenant} failed to {one.stage}" for one in self.failures]
        parts += [join_abbreviated(failures)] if failures else []
        tried = sum(one.stage == "train" for one in self.outcomes)
        return f"{', '.join(parts)} of {tried} tenants"


@flow(name="retrain")
def retrain(workspace: str = ".", tenants: list[str] | None = None, full_check: bool = False) -> State[RetrainResult]:
    """Give every (or each named) tenant whose data, parameters or base changed a new prefix, if it passes the gate.

    With `full_check` every file is read again, however unchanged it looks.
    """
    prepare_environment(Path(workspace))
    place = Workspace(Path(workspace), full_check=full_check)
    with place.lock():
        version, refused = ensure_dataset_version(place, tenants)
        todo = make_plan(place, tenants)
        run = RetrainResult(version, todo.sentence, outcomes=refused)
        run.outcomes += train_and_evaluate(place, todo)
        run.outcomes += judge_tenants(place, run.list_passed("evaluate"))
        versions, troubles = register_accepted(place, todo.collect_fingerprints(run.list_passed("gate")))
        run.outcomes += troubles
        record_rejected(place, todo.collect_fingerprints(run.list_done("gate")))
        run.promoted, troubles = roll_out(place, versions, [item.tenant for item in todo.items if item.outdated])
        run.outcomes += troubles
        if tenants is None and not run.failures:
            commit_to_dvc(place)
        run.rows = publish_results(place, run.plan, run.failures, tenants)
    return make_end_state(run.sentence, run, failed=bool(run.failures))


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10)
def ensure_dataset_version(place: Workspace, tenants: list[str] | None) -> tuple[str, list[TenantOutcome]]:
    """Take the drops that wait into a new version, and fetch the data if they are missing; the remote may be slow."""
    refused = dataset.ingest_waiting_drops(place, tenants)
    return dataset.ensure_data(place), refused


@task(cache_policy=NO_CACHE)
def make_plan(place: Workspace, tenants: list[str] | None) -> Plan:
    """Make the one plan of this run; and ask MLflow something, so that a run without it ends before it trains."""
    place.registry.poll_aliased(CHAMPION)
    todo = plan(place, tenants)
    log_info(todo.sentence)
    return todo


def train_and_evaluate(place: Workspace, todo: Plan) -> list[TenantOutcome]:
    """One shard, in this process."""
    outcomes: list[TenantOutcome] = read_result(
        shard(str(place.root), todo.collect_fingerprints(), todo.reasons, return_state=True)
    )
    gather_results(place)
    return outcomes


@task(cache_policy=NO_CACHE)
def gather_results(place: Workspace) -> None:
    """Gather every tenant's curves and scores, remove what belongs to tenants that have left."""
    dataset.gather_results(place)


@task(cache_policy=NO_CACHE)
def judge_tenants(place: Workspace, tenants: list[str]) -> list[TenantOutcome]:
    """Put every evaluated tenant to the gate."""
    outcomes = [gate.try_judge_tenant(place, tenant) for tenant in tenants]
    gate.gather_results(place)
    return outcomes


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, timeout_seconds=1800)
def register_accepted(place: Workspace, fingerprints: dict[str, str]) -> tuple[dict[str, Version], list[TenantOutcome]]:
    """Make versions; safe to try again, since a registered prefix gets no second version."""
    return register.register(place, fingerprints)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def record_rejected(place: Workspace, fingerprints: dict[str, str]) -> None:
    """Write newly rejected prefixes down as runs."""
    register.record_rejected(place, fingerprints)


@task(cache_policy=NO_CACHE, retries=_ROLLOUT_RETRIES, retry_delay_seconds=5)
def roll_out(
    place: Workspace, versions: dict[str, Version], outdated: list[str]
) -> tuple[dict[str, str], list[TenantOutcome]]:
    """Bring new versions to their tenants by policy; tried again where that failed, and then told."""
    promoted, troubles = register.roll_out(place, versions, outdated)
    if task_run.run_count <= _ROLLOUT_RETRIES:
        raise_on_failures(troubles)
    return promoted, troubles


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10)
def commit_to_dvc(place: Workspace) -> None:
    """Let DVC know of the run's files, as `dvc repro` would."""
    dataset.commit_to_dvc(place)
