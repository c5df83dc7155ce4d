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
from components.stages.outcome import Outcome, refuse_failures
from components.stages.plan import Plan, plan
from components.stages.progress import listed, tell
from components.stages.reports.results_table import Row
from components.stages.workspace import Workspace
from flows.environment import prepare
from flows.report import publish
from flows.shard import shard
from flows.states import ended, result_of

_TRIES = 2
"""After the first, of rolling out."""


@dataclass
class Run:
    """What a run did, tenant by tenant."""

    version: str
    plan: str
    outcomes: list[Outcome] = field(default_factory=list)
    promoted: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def passed(self, stage: str) -> list[str]:
        """The tenants that came through a stage, by work or because their results stood."""
        return [one.tenant for one in self.outcomes if one.stage == stage and one.state != "failed"]

    def done(self, stage: str) -> list[str]:
        """The tenants for whom a stage had work to do and did it."""
        return [one.tenant for one in self.outcomes if one.stage == stage and one.state == "done"]

    @property
    def failures(self) -> list[Outcome]:
        """What went wrong."""
        return [one for one in self.outcomes if one.state == "failed"]

    @property
    def sentence(self) -> str:
        """The run in one line."""
        rejected = [row.tenant for row in self.rows if row.verdict == "rejected"]
        parts = [f"{len(self.done('train'))} trained", f"{len(self.promoted)} promoted"]
        parts += [f"{len(rejected)} rejected ({listed(rejected)})"] if rejected else []
        failures = [f"{one.tenant} failed to {one.stage}" for one in self.failures]
        parts += [listed(failures)] if failures else []
        tried = sum(one.stage == "train" for one in self.outcomes)
        return f"{', '.join(parts)} of {tried} tenants"


@flow(name="retrain")
def retrain(workspace: str = ".", tenants: list[str] | None = None, full_check: bool = False) -> State[Run]:
    """Give every (or each named) tenant whose data, parameters or base changed a new prefix, if it passes the gate.

    With `full_check` every file is read again, however unchanged it looks.
    """
    prepare(Path(workspace))
    place = Workspace(Path(workspace), full_check=full_check)
    with place.lock():
        version, refused = settle_version(place, tenants)
        todo = make_plan(place, tenants)
        run = Run(version, todo.sentence, outcomes=refused)
        run.outcomes += train_and_evaluate(place, todo)
        run.outcomes += judge(place, run.passed("evaluate"))
        versions, troubles = register_accepted(place, run.passed("gate"))
        run.outcomes += troubles
        note_rejected(place, run.done("gate"))
        run.promoted, troubles = roll_out(place, versions, [item.tenant for item in todo.items if item.outdated])
        run.outcomes += troubles
        if tenants is None and not run.failures:
            record(place)
        run.rows = publish(place, run.plan, run.failures, tenants)
    return ended(run.sentence, run, failed=bool(run.failures))


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10)
def settle_version(place: Workspace, tenants: list[str] | None) -> tuple[str, list[Outcome]]:
    """Take the drops that wait into a new version, and fetch the data if they are missing; the remote may be slow."""
    refused = dataset.take_waiting(place, tenants)
    return dataset.settle(place), refused


@task(cache_policy=NO_CACHE)
def make_plan(place: Workspace, tenants: list[str] | None) -> Plan:
    """Compare fingerprints; and ask MLflow something, so that a run without it ends before it trains."""
    place.registry.standing(CHAMPION)
    todo = plan(place, tenants)
    tell(todo.sentence)
    return todo


def train_and_evaluate(place: Workspace, todo: Plan) -> list[Outcome]:
    """One shard, in this process."""
    tenants = [item.tenant for item in (*todo.items, *todo.skipped)]
    outcomes: list[Outcome] = result_of(shard(str(place.root), tenants, return_state=True))
    finish_shards(place)
    return outcomes


@task(cache_policy=NO_CACHE)
def finish_shards(place: Workspace) -> None:
    """Gather every tenant's curves and scores, remove what belongs to tenants that have left."""
    dataset.finish(place)


@task(cache_policy=NO_CACHE)
def judge(place: Workspace, tenants: list[str]) -> list[Outcome]:
    """Put every evaluated tenant to the gate."""
    outcomes = [gate.judge_or_tell(place, tenant) for tenant in tenants]
    gate.finish(place)
    return outcomes


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, timeout_seconds=1800)
def register_accepted(place: Workspace, tenants: list[str]) -> tuple[dict[str, Version], list[Outcome]]:
    """Make versions; safe to try again, since a registered prefix gets no second version."""
    return register.register(place, tenants)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def note_rejected(place: Workspace, tenants: list[str]) -> None:
    """Write newly rejected prefixes down as runs."""
    register.note_rejected(place, tenants)


@task(cache_policy=NO_CACHE, retries=_TRIES, retry_delay_seconds=5)
def roll_out(
    place: Workspace, versions: dict[str, Version], outdated: list[str]
) -> tuple[dict[str, str], list[Outcome]]:
    """Bring new versions to their tenants by policy; tried again where that failed, and then told."""
    promoted, troubles = register.roll_out(place, versions, outdated)
    if task_run.run_count <= _TRIES:
        refuse_failures(troubles)
    return promoted, troubles


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10)
def record(place: Workspace) -> None:
    """Let DVC know of the run's files, as `dvc repro` would."""
    dataset.record(place)
