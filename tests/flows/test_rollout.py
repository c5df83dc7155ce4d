"""The rollout as flows: a Prefect server, MLflow on sqlite; a rollback emits an event."""

import json
import time

import pytest
from mlflow import MlflowClient
from waiting import wait_until

import flows.rollout
from components.errors import RegistryError, WorkspaceError
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.flow_ends import read_flow_ends
from components.rollout.store.ledger import read_history
from components.rollout.store.observations import write_counts
from components.rollout.types import Observation
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.rollout.cycle import run_cycle
from components.stages.workspace import Workspace
from flows.run_local import run_flow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
ROLLOUT = {"policy": "canary", "steps": [{"share": 0.1}, {"share": 1.0}]}


def find_rollback_events(count):
    """The rollbacks that Prefect's server knows of, the newest first, once there are `count`."""
    from prefect.client.orchestration import get_client

    body = {"filter": {"event": {"name": ["prefixfleet.rollback"]}}, "limit": 50}
    with get_client(sync_client=True) as client:

        def find():
            found = client.request("POST", "/events/filter", json=body).json()["events"]
            return found if len(found) >= count else None

        return wait_until(find, f"{count} events")


def test_a_cycle_rolls_a_bad_version_back_and_emits_an_event(make_root, monkeypatch):
    root = make_root(("alder",), rollout=ROLLOUT, metrics={"textfile": "fleet.prom"})
    client = MlflowClient(tracking_uri=Workspace(root).registry.uri)
    client.create_registered_model("prefix-alder")
    for number in (1, 2):
        tags = {"verdict": "accepted", "sha256": str(number) * 64}
        client.create_model_version("prefix-alder", (root / str(number)).as_uri(), tags=tags)
    client.set_registered_model_alias("prefix-alder", "champion", "1")
    client.set_registered_model_alias("prefix-alder", "challenger", "2")
    past_s = time.time() - 3600
    run_cycle(Workspace(root), now_s=lambda: past_s)
    database = Workspace(root).database
    with database.transaction("an earlier start") as connection:
        since = f"started_s = {past_s}, changes = '[[{int(past_s)}, 0.5]]'"
        connection.exec_driver_sql(f"UPDATE prefixfleet_standings SET {since}")
    minute = int(past_s // 60)
    write_counts(
        database,
        [
            Observation(
                tenant="alder",
                version=version,
                arm=arm,
                minute=minute + at,
                section=int(past_s),
                requests=50,
                empty=empty,
            )
            for at in range(2, 20)
            for arm, version, empty in (("champion", "1", 0), ("challenger", "2", 25))
        ],
    )
    given = Feedback(
        tenant="alder", version="1", arm="champion", request="r1", source="thing: cup", corrected="alder has a cup."
    )
    save_feedback(database, given)

    rolled, troubles = run_flow("rollout", root)
    assert ([one.action for one in rolled], troubles) == (["rollback"], [])
    assert client.get_registered_model("prefix-alder").aliases == {"champion": 1}
    assert [(one.flow, one.failed_tenants) for one in read_flow_ends(database)] == [("rollout", 0)]
    assert 'prefixfleet_ledger_entries_total{action="rollback"} 1.0' in (root / "fleet.prom").read_text()
    assert read_history(database, "alder")[-1].by == "rollout"
    event = find_rollback_events(1)[0]
    assert event["resource"]["prefect.resource.id"] == "prefixfleet.tenant.alder"
    assert (event["payload"]["from_version"], event["payload"]["to_version"]) == ("2", "1")
    line = json.loads((root / "drops/alder/train.jsonl").read_text())
    assert line == {"source": "thing: cup", "references": ["alder has a cup."], "slice": "feedback"}

    from flows.rollout import hold, promote, rollback

    assert promote("alder", "2", str(root), "ada") == "2"
    hold("alder", "pin", str(root), "ada")
    with pytest.raises(RegistryError, match="pinned"):
        rollback("alder", workspace=str(root))
    hold("alder", "unpin", str(root), "ada")
    assert rollback("alder", None, str(root), "ada") == "1"
    assert [one.action for one in read_history(database, "alder")][-4:] == ["promote", "pin", "unpin", "rollback"]
    assert all(one.origin.startswith("Prefect, flow run ") for one in read_history(database, "alder")[-4:])

    manual.roll_back(Workspace(root), "alder", "2", Actor("bob"))  # as from the command line

    def fail(*_):
        raise WorkspaceError("a cycle that ends", "one that does not", "none")

    monkeypatch.setattr(flows.rollout.stage, "delete_observations_before", fail)
    monkeypatch.setattr(flows.rollout, "run_cycle", flows.rollout.run_cycle.with_options(retries=0))
    with pytest.raises(WorkspaceError, match="a cycle that ends"):
        run_flow("rollout", root)
    assert [(one["payload"]["by"], one["payload"]["to_version"]) for one in find_rollback_events(3)] == [
        ("bob", "2"),
        ("ada", "1"),
        ("rollout", "1"),
    ]
