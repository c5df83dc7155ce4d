"""What becomes of shards whose workers end, are stopped, refuse, or are lost; a fake pool plays the workers.

The workspace, the exchange (a folder) and the files are real: a worker of the fake pool sends what a local run made.
"""

import shutil
from dataclasses import dataclass, field

import httpx
import pytest
from evaluated_tenants import run_evaluation

from components.config import WorkersConfig
from components.stages import train
from components.stages.outcome import TenantOutcome
from components.stages.plan import plan
from components.stages.sharding.cost import TrainingRates
from components.stages.sharding.exchange_sets import (
    TRAINED_SET,
    list_tenant_files,
    locate_shard,
    locate_tenant,
    make_evaluated_set,
)
from components.stages.sharding.messages import HEARTBEAT, OUTCOMES, Heartbeat, ShardOutcomes
from components.stages.sharding.request import ShardRequest
from components.stages.sharding.request_building import RequestBuilder
from components.stages.sharding.settling import Settling
from components.stages.sharding.shard_work import ShardWork
from components.stages.workspace import Workspace
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore
from flows.shard_dispatcher import ShardDispatcher
from flows.worker_deadline import NoWorkerError
from flows.worker_pool import OpenRun, ShardState

TENANTS = ("alder", "birch", "cedar", "dogwood")


@dataclass
class FakeRun:
    """A run of the fake pool: what its worker does at each look of the parent."""

    request: ShardRequest
    steps: list
    state: ShardState = field(default_factory=lambda: ShardState("waiting", ""))
    is_cancelled: bool = False


class FakePool:
    """A work pool whose workers follow scripts; `script` makes a list of states and actions from a run's request."""

    name, start_hint = "gpu", "`start one`"

    def __init__(self, exchange, script):
        self.exchange, self.script, self.runs, self.is_away, self.polls = exchange, script, {}, 0, 0

    def ensure_deployment(self):
        pass

    def send(self, shard_id, exchange, title):
        request = ShardRequest.model_validate(self.exchange.open(*locate_shard(shard_id)).get_json("request"))
        self.runs[f"run-{len(self.runs)}"] = FakeRun(request, list(self.script(request)))
        return f"run-{len(self.runs) - 1}"

    def read_states(self, run_ids):
        if self.is_away:
            self.is_away -= 1
            raise httpx.ConnectError("connection refused")
        for run_id in run_ids:
            run = self.runs[run_id]
            while run.steps and callable(run.steps[0]):
                run.steps.pop(0)()
            if run.steps:
                run.state = ShardState(*run.steps.pop(0))
        return {run_id: self.runs[run_id].state for run_id in run_ids}

    def find_open(self):
        return [OpenRun(run_id, "an old run", run.request.shard_id) for run_id, run in self.runs.items()]

    def cancel(self, run_ids, *, reason, is_lost=False):
        for run_id in run_ids:
            self.runs[run_id].is_cancelled = True

    def read_last_poll(self):
        return str(self.polls)

    def describe_workers(self):
        return "online workers: other-host-code-1234"


class Dispatched:
    """A workspace whose tenants need training, what a local run makes of them, and a pool."""

    def __init__(self, root, made, script, **config):
        self.root, self.made, self.now_s = root, made, 0.0
        self.exchange = Exchange(ObjectStore((root.parent / "exchange").as_uri()))
        self.pool = FakePool(self.exchange, lambda request: script(self, request))
        self.config = WorkersConfig(exchange=self.exchange_url, **config)
        self.on_sleep = lambda: None

    @property
    def exchange_url(self):
        return (self.root.parent / "exchange").as_uri()

    def run(self):
        """Dispatch with a new parent; returns tenant -> outcomes."""
        workspace = Workspace(self.root)
        planned = plan(workspace)
        rates = TrainingRates(self.root / "var/rates.json")
        work = ShardWork(workspace, planned, {}, rates)
        builder = RequestBuilder(workspace, planned.base, {})
        settling = Settling(workspace, self.exchange, builder, work, {})
        self.dispatcher = ShardDispatcher(
            workspace,
            self.config,
            self.exchange,
            self.pool,
            builder,
            work,
            settling,
            rates,
            read_monotonic=lambda: self.now_s,
            sleep=self.sleep,
        )
        self.dispatcher.run()
        return {tenant: [one for one in work.outcomes if one.tenant == tenant] for tenant in TENANTS}

    def sleep(self, seconds):
        self.now_s += seconds
        self.on_sleep()

    def beat(self, request, counter, activity="training"):
        """An action: the worker shows a sign of life."""
        heartbeat = Heartbeat(counter=counter, worker="host:1", device="cpu", activity=activity)
        folder = self.exchange.open(*locate_shard(request.shard_id))
        return lambda: folder.put_json(HEARTBEAT, heartbeat.model_dump(mode="json"))

    def train(self, request, *tenants):
        """An action: the worker trains and evaluates tenants and sends the files."""

        def send():
            for tenant in tenants:
                folder = self.exchange.open(*locate_tenant(tenant, request.run_keys[tenant]))
                folder.put(TRAINED_SET, self.made, list_tenant_files(self.made, "train", tenant))
                evaluated = list_tenant_files(self.made, "evaluate", tenant)
                folder.put(make_evaluated_set(request, tenant), self.made, evaluated)

        return send

    def end(self, request):
        """An action: the worker tells that all tenants are done."""

        def tell():
            stages = [("train", "done" if tenant in request.reasons else "skipped") for tenant in request.fingerprints]
            outcomes = [
                *(TenantOutcome(tenant, *stage) for tenant, stage in zip(request.fingerprints, stages, strict=True)),
                *(TenantOutcome(tenant, "evaluate", "done") for tenant in request.fingerprints),
            ]
            ended = ShardOutcomes(worker="host:1", device="cpu", outcomes=outcomes)
            self.exchange.open(*locate_shard(request.shard_id)).put_json(OUTCOMES, ended.model_dump(mode="json"))

        return tell

    def work(self, request):
        """The script of a worker to whom nothing happens."""
        yield ("starting", "")
        yield ("running", "")
        yield self.beat(request, 1)
        yield self.train(request, *request.fingerprints)
        yield self.end(request)
        yield ("ended", "Completed")


KILLED = ("ended", "Process exited with status code: -9")


@pytest.fixture(scope="module")
def original(make_checkout_in, tmp_path_factory):
    """A checkout of tenants that need training, and the out/ that a local run makes."""
    root = make_checkout_in(tmp_path_factory.mktemp("original"), TENANTS)
    train.run(Workspace(root))
    run_evaluation(root)
    made = tmp_path_factory.mktemp("made") / "out"
    shutil.move(root / "out", made)
    (root / "out").mkdir()
    shutil.copytree(made / "base", root / "out" / "base")
    return root, made


@pytest.fixture
def dispatch(original, tmp_path):
    """A function of a script and settings to a `Dispatched`."""

    def make(script=Dispatched.work, **config):
        root = shutil.copytree(original[0], tmp_path / "workspace", symlinks=True)
        return Dispatched(root, original[1], script, **{"max_shards": 1, **config})

    return make


def list_states(outcomes):
    return {tenant: [(one.stage, one.state) for one in own] for tenant, own in outcomes.items()}


DONE = [("train", "done"), ("evaluate", "done")]


def test_all_tenants_are_trained_by_workers_and_no_more_shards_at_once_than_allowed(dispatch):
    run = dispatch(max_shards=2)
    open_runs = []
    run.on_sleep = lambda: open_runs.append(len(run.dispatcher._sent))
    assert list_states(run.run()) == dict.fromkeys(TENANTS, DONE)
    assert max(open_runs) == 2
    assert run.dispatcher.workers == dict.fromkeys(TENANTS, "host:1")
    assert plan(Workspace(run.root)).items == ()


def test_a_tenant_that_ends_its_workers_is_given_up_alone_and_nothing_is_trained_twice(dispatch):
    def script(run, request):
        yield ("running", "")
        if "birch" not in request.fingerprints:
            yield from run.work(request)
            return
        trained_first = [tenant for tenant in request.reasons if tenant != "birch"][:1]
        yield run.train(request, *trained_first)
        yield KILLED

    run = dispatch(script, tries=2)
    outcomes = run.run()
    states = list_states(outcomes)
    assert states.pop("birch") == [("train", "failed")]
    assert all([stage for stage, _ in own] == ["train", "evaluate"] for own in states.values())
    assert all(state != "failed" for own in states.values() for _, state in own)
    (failure,) = outcomes["birch"]
    assert "2 workers that ended while they had only this tenant" in failure.detail
    assert "status code: -9" in failure.detail
    trained = [tenant for one in run.pool.runs.values() for tenant in one.request.reasons if tenant != "birch"]
    first = run.pool.runs["run-0"].request.reasons
    assert list(first) == list(TENANTS)
    assert all("alder" not in one.request.reasons for name, one in run.pool.runs.items() if name != "run-0")
    assert len(trained) >= 3


def test_a_stopped_worker_does_not_count_and_its_shard_goes_to_another(dispatch):
    stops = []

    def script(run, request):
        yield ("running", "")
        if len(stops) < 4:
            stops.append(request.shard_id)
            yield run.beat(request, 1)
            yield ("running", "")
            yield run.beat(request, 2, "stopped")
            yield ("running", "")
            yield ("running", "")
        else:
            yield from run.work(request)

    run = dispatch(script, tries=1)
    assert list_states(run.run()) == dict.fromkeys(TENANTS, DONE)
    assert len(run.pool.runs) == 5
    assert [one.is_cancelled for one in run.pool.runs.values()] == [True] * 4 + [False]


def test_a_worker_without_signs_of_life_is_given_up_and_its_run_cancelled(dispatch):
    def script(run, request):
        if run.pool.runs:
            yield from run.work(request)
            return
        yield ("running", "")
        yield run.beat(request, 1)
        yield ("running", "")

    run = dispatch(script, lost_seconds=20.0)
    assert list_states(run.run()) == dict.fromkeys(TENANTS, DONE)
    assert [one.is_cancelled for one in run.pool.runs.values()] == [True, False]


def test_a_shard_that_a_person_cancels_ends_its_tenants_and_no_others(dispatch):
    def script(run, request):
        yield ("running", "")
        if "alder" in request.fingerprints:
            yield run.beat(request, 1)
            yield ("cancelling", "")
            yield run.beat(request, 2, "stopped")
            yield ("cancelling", "")
            yield ("cancelled", "by a person")
        else:
            yield from run.work(request)

    run = dispatch(script, max_shards=4)
    outcomes = run.run()
    (failure,) = outcomes.pop("alder")
    assert (failure.stage, failure.state) == ("train", "failed")
    assert "by a person" in failure.detail
    assert list_states(outcomes) == {tenant: DONE for tenant in TENANTS if tenant != "alder"}


def test_a_shard_that_workers_refuse_is_tried_again_and_then_fails_with_their_reason(dispatch):
    def script(run, request):
        yield ("running", "")
        yield ("refused", "wanted a base with digest 1; got 2; fix it")

    run = dispatch(script, tries=3)
    outcomes = run.run()
    assert len(run.pool.runs) == 3
    assert all("wanted a base with digest 1" in own[0].detail for own in outcomes.values())


def test_damaged_files_of_a_worker_are_made_again(dispatch):
    def script(run, request):
        if run.pool.runs:
            yield from run.work(request)
            return
        yield ("running", "")
        yield run.train(request, *TENANTS)
        yield lambda: [
            path.write_bytes(b"damaged")
            for path in (run.root.parent / "exchange/tenants/birch").rglob("*")
            if path.is_file() and path.name != "listing.json"
        ]
        yield run.end(request)
        yield ("ended", "Completed")

    run = dispatch(script)
    assert list_states(run.run()) == dict.fromkeys(TENANTS, DONE)
    assert [list(one.request.reasons) for one in run.pool.runs.values()] == [list(TENANTS), ["birch"]]


def test_an_interrupted_parent_cancels_its_shards_and_the_next_takes_what_is_done(dispatch):
    def script(run, request):
        yield ("running", "")
        yield run.train(request, "alder")
        yield ("running", "")
        yield ("running", "")

    run = dispatch(script)

    def interrupt():
        if run.now_s > 2:
            raise KeyboardInterrupt

    run.on_sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert [one.is_cancelled for one in run.pool.runs.values()] == [True]
    run.pool.runs.clear()
    run.pool.script, run.on_sleep = run.work, lambda: None
    outcomes = run.run()
    assert outcomes["alder"][0].detail == "trained by a worker of an earlier run"
    (second,) = run.pool.runs.values()
    assert list(second.request.fingerprints) == ["birch", "cedar", "dogwood"]


def test_a_new_parent_takes_over_shards_at_work_and_cancels_those_of_another_plan(dispatch):
    run = dispatch(lambda _run, _request: [("running", "")])

    class Killed(BaseException):
        """As if the process ended: nothing is cancelled."""

    def kill():
        run.pool.cancel = lambda *_, **__: None
        raise Killed

    run.on_sleep = kill
    with pytest.raises(Killed):
        run.run()
    del run.pool.cancel
    (old,) = run.pool.runs.values()
    old.steps, run.on_sleep = list(run.work(old.request)), lambda: None
    assert list_states(run.run()) == dict.fromkeys(TENANTS, DONE)
    assert list(run.pool.runs) == ["run-0"]

    run.pool.script = run.work
    text = (run.root / "params.yaml").read_text()
    (run.root / "params.yaml").write_text(text.replace("max_new_tokens: 8", "max_new_tokens: 5"))
    run.pool.script = lambda request: [("running", ""), run.beat(request, 1), ("refused", "too late")]
    run.config = run.config.model_copy(update={"tries": 1})
    run.run()
    assert old.is_cancelled
    assert len(run.pool.runs) == 2


def test_a_server_that_is_away_for_a_while_delays_nothing_but_the_end(dispatch):
    run = dispatch()

    def leave():
        if len(run.pool.runs["run-0"].steps) == 4:
            run.pool.is_away = 5
            run.on_sleep = lambda: None

    run.on_sleep = leave
    assert list_states(run.run()) == dict.fromkeys(TENANTS, DONE)
    assert run.pool.is_away == 0


def test_a_worker_that_never_comes_is_an_error_that_names_the_pool_and_what_is_online(dispatch):
    run = dispatch(lambda _run, _request: [], start_minutes=1.0)
    with pytest.raises(NoWorkerError, match=r"'gpu' within 1 minutes; got online workers: other-host-code-1234; start"):
        run.run()
    assert run.now_s == pytest.approx(62, abs=2)
    assert [one.is_cancelled for one in run.pool.runs.values()] == [True]


def test_a_worker_that_asks_for_shards_may_be_at_work_for_another_parent(dispatch):
    waits = [("waiting", "")] * 200
    run = dispatch(lambda run, request: [*waits, *run.work(request)], start_minutes=1.0)

    def poll():
        run.pool.polls += 1

    run.on_sleep = poll
    assert list_states(run.run()) == dict.fromkeys(TENANTS, DONE)
    assert run.now_s > 200


def test_a_tenant_whose_shared_prefix_is_trained_in_this_run_waits_for_it_and_others_do_not(dispatch):
    run = dispatch(max_shards=4)
    text = (run.root / "params.yaml").read_text()
    (run.root / "params.yaml").write_text(text.replace("tenants: {}", "tenants: {dogwood: {train: {shared: alder}}}"))

    def script(request):
        if "alder" in request.fingerprints:
            return [("running", ""), ("cancelled", "by a person")]
        return run.work(request)

    run.pool.script = script
    outcomes = run.run()
    assert all("dogwood" not in one.request.fingerprints for one in run.pool.runs.values())
    assert "the prefix of alder, which the prefix of dogwood builds on" in outcomes["dogwood"][0].detail
    assert list_states({tenant: outcomes[tenant] for tenant in ("birch", "cedar")}) == dict.fromkeys(
        ("birch", "cedar"), DONE
    )
