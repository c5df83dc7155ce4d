"""A run of the deployment on a real Prefect server, whose states the test sets as a worker would."""

from contextlib import suppress
from functools import partial
from threading import Thread
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed, StateType
from waiting import wait_until

from components.errors import WorkspaceError
from flows import on_demand
from flows.on_demand import DEPLOYMENT, run_on_demand

pytestmark = pytest.mark.usefixtures("prefect_api")


class Waiting(Thread):
    """A call in a thread, with what it has returned."""

    def __init__(self, trigger):
        super().__init__(daemon=True)
        self.trigger, self.result = trigger, None
        self.start()

    def run(self):
        self.result = run_on_demand("acme", self.trigger)


@pytest.fixture
def client():
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(client):
    flow_name, name = DEPLOYMENT.split("/")
    deployment_id = client.create_deployment(client.create_flow_from_name(flow_name), name)
    yield deployment_id
    with suppress(ObjectNotFound):
        client.delete_deployment(deployment_id)


def find_runs(client, deployment):
    return [run for run in client.read_flow_runs() if run.deployment_id == deployment]


@pytest.mark.parametrize(
    ("state", "is_completed"), [(Completed(message="well"), True), (Failed(message="badly"), False)]
)
def test_the_end_of_the_run_is_told_and_a_repeated_call_waits_for_the_same_run(
    client, deployment, state, is_completed, monkeypatch
):
    monkeypatch.setattr(on_demand, "_POLL_S", 0.05)
    trigger = f"fine-tuning job {state.name}"
    calls = [Waiting(trigger) for _ in range(2)]
    (run,) = wait_until(lambda: find_runs(client, deployment), "the run")
    assert run.parameters == {"tenants": ["acme"], "trigger": trigger}
    client.set_flow_run_state(run.id, state, force=True)
    for call in calls:
        call.join()
        assert call.result == (is_completed, f"its run ended as {state.name}: {state.message}")
    assert run_on_demand("acme", trigger) == calls[0].result
    assert len(find_runs(client, deployment)) == 1


def test_an_interrupted_call_cancels_the_run(client, deployment, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(on_demand, "time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        run_on_demand("acme", "interrupted")
    (run,) = find_runs(client, deployment)
    assert run.state.type in (StateType.CANCELLING, StateType.CANCELLED)


def test_without_the_deployment_nothing_is_run(client):
    with suppress(ObjectNotFound):
        client.delete_deployment(client.read_deployment_by_name(DEPLOYMENT).id)
    assert run_on_demand("acme", "none") is None


def test_a_server_that_is_away_is_an_error(monkeypatch):
    nowhere = {"base_url": "http://127.0.0.1:9/api"}
    monkeypatch.setattr(on_demand, "get_client", partial(get_client, httpx_settings=nowhere))
    with pytest.raises(WorkspaceError, match="PREFECT_API_URL"):
        run_on_demand("acme", "away")
