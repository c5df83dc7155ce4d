"""A worker that is killed or stopped, and whatever is wrong with what it gets: work goes on, or an error names it."""

import shutil
import signal
from threading import Barrier

import pytest
from processes import run_in
from shard_parent import ShardParent, list_states, read_results

from components.data.remote_version import RemoteVersion
from components.errors import WorkersError, WorkspaceError
from components.stages import evaluate, train
from components.stages.plan import plan
from components.stages.sharding.exchange_sets import INPUT_SET, STATE_SET, TRAINED_SET
from components.stages.sharding.scratch_workspace import check_base
from components.stages.stamps import read_json
from components.stages.workspace import Workspace
from components.training.checkpoint import read_saved_step

TENANTS = ("alder", "birch", "cedar")
TRAIN = {"max_steps": 8, "learning_rate": 0.1, "initialization": "random"}
DONE = {(stage, tenant): "done" for stage in ("train", "evaluate") for tenant in ("alder", "birch")}


@pytest.fixture(scope="module")
def trained_here(tmp_path_factory, make_checkout_in):
    """A workspace in which alder alone, and then birch with cedar, are trained and evaluated without a worker."""
    root = make_checkout_in(
        tmp_path_factory.mktemp("faults") / "here", TENANTS, train=TRAIN, workers={"exchange": "file:///exchange"}
    )
    run_in(root, "dvc", "push", "-q")
    shutil.copytree(root, root.parent / "untrained", symlinks=True)
    for tenants in (["alder"], ["birch", "cedar"]):
        planned = plan(Workspace(root), tenants)
        train.train_planned(Workspace(root), planned.collect_fingerprints(), planned.reasons)
        evaluate.evaluate_shard(Workspace(root), planned.collect_fingerprints(), {})
    return root


@pytest.fixture
def make_parent(trained_here, tmp_path):
    """A function of tenants to the parent of their shard, in a workspace where nothing is trained."""

    def make(*tenants):
        root = shutil.copytree(trained_here.parent / "untrained", tmp_path / "parent" / "workspace", symlinks=True)
        return ShardParent(root, tenants)

    return make


def damage(parent, tenant, name):
    """Change one byte of every object of a set in the exchange, but not its listing."""
    key = parent.request.run_keys[tenant]
    folder = parent.workspace.root.parent / "exchange" / "tenants" / tenant / key / name
    objects = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert objects
    for path in objects:
        path.write_bytes(b"\0" + path.read_bytes()[1:])


def check_same_results(here, there, *tenants, resumed):
    for tenant in tenants:
        ours, theirs = (read_results(root, tenant, resumed=resumed) for root in (here, there))
        assert sorted(ours) == sorted(theirs)
        assert [name for name, content in ours.items() if theirs[name] != content] == []


@pytest.mark.slow
def test_a_shard_whose_worker_was_killed_goes_on_from_its_last_state_elsewhere(trained_here, make_parent, tmp_path):
    parent = make_parent("alder")
    parent.send()
    killed = parent.start_worker(tmp_path / "one", killed_at_upload=3)  # at steps 0, 2 and 4
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert parent.open_tenant("alder").has(STATE_SET)
    assert not parent.open_tenant("alder").has(TRAINED_SET)
    assert len(list((tmp_path / "one" / "scratch").iterdir())) == 2
    assert list_states(parent.run_here(tmp_path / "two")) == {key: "done" for key in DONE if key[1] == "alder"}
    parent.place()
    root = parent.workspace.root
    assert read_json(root / "out/train/alder/training.json")["resumed_from"] == 4
    check_same_results(trained_here, root, "alder", resumed=True)
    # A later worker of the killed one's home removes what that left, and trains nothing again.
    again = parent.run_here(tmp_path / "one")
    assert list_states(again) == {("train", "alder"): "done", ("evaluate", "alder"): "skipped"}
    assert again[0].detail == "trained by an earlier worker"
    assert list((tmp_path / "one" / "scratch").iterdir()) == []


@pytest.mark.slow
def test_a_stopped_shard_keeps_its_states_and_damaged_results_are_made_again(trained_here, make_parent, tmp_path):
    parent, asked = make_parent("birch", "cedar"), []
    parent.send()

    def stop():
        asked.append(None)
        return len(asked) > 13

    stopped = parent.run_here(tmp_path / "one", stop)
    assert {(one.stage, one.state) for one in stopped} == {("train", "failed")}
    assert parent.read_outcomes() is None
    for tenant in ("birch", "cedar"):
        assert parent.open_tenant(tenant).fetch(STATE_SET, tmp_path / "states")
        state = tmp_path / "states" / "train" / tenant / "state"
        assert 0 < read_saved_step(state, parent.request.run_keys[tenant]) < 8
        assert not parent.open_tenant(tenant).has(TRAINED_SET)
    first = parent.run_here(tmp_path / "one")
    assert set(list_states(first).values()) == {"done"}
    assert parent.read_outcomes() == list_states(first)
    parent.place()
    check_same_results(trained_here, parent.workspace.root, "birch", "cedar", resumed=True)
    damage(parent, "birch", TRAINED_SET)
    damage(parent, "cedar", STATE_SET)
    second = {one.tenant: one.detail for one in parent.run_here(tmp_path / "one") if one.stage == "train"}
    assert second["birch"].startswith("validation loss")
    assert second["cedar"] == "trained by an earlier worker"


@pytest.mark.slow
def test_a_tenant_with_other_data_or_damaged_files_fails_alone(make_parent, tmp_path):
    parent = make_parent(*TENANTS)
    parent.send(fingerprints={**parent.request.fingerprints, "birch": "f" * 64})
    data = parent.workspace.root / "data"
    parent.open_tenant("cedar").put(INPUT_SET, data, ["cedar/train.jsonl"])
    damage(parent, "cedar", INPUT_SET)
    found = {(one.stage, one.tenant): one for one in parent.run_here(tmp_path / "home")}
    assert {key: one.state for key, one in found.items()} == {
        ("train", "alder"): "done",
        ("train", "birch"): "failed",
        ("train", "cedar"): "failed",
        ("evaluate", "alder"): "done",
    }
    assert "as planned, with fingerprint ffffffffffff" in found["train", "birch"].detail
    assert "input" in found["train", "cedar"].detail
    assert parent.read_outcomes() == {key: one.state for key, one in found.items()}


def test_another_code_another_base_and_a_remote_that_is_not_here_are_refused(make_parent, tmp_path):
    parent, home = make_parent("alder"), tmp_path / "home"
    with pytest.raises(WorkersError, match="the request of shard shard-1 in the exchange; got none"):
        parent.run_here(home)
    parent.send()
    parent.send_request(code_version="0" * 12)
    with pytest.raises(WorkersError, match="code version 000000000000, as the parent of shard shard-1 has"):
        parent.run_here(home)
    elsewhere = parent.request.dvc.model_copy(update={"options": {"url": str(tmp_path / "elsewhere")}})
    parent.send_request(dvc=elsewhere)
    with pytest.raises(WorkspaceError, match="the parent's DVC remote 'local'; got no such folder"):
        parent.run_here(home)
    parent.send_request(base={**parent.facts, "files_digest": "0" * 64})
    with pytest.raises(WorkersError, match="in the exchange, with digest 000000000000; got none"):
        parent.run_here(home)
    assert list((home / "scratch").iterdir()) == []
    facts = {**parent.facts, "digest": "0" * 64, "dtype": "bfloat16"}
    with pytest.raises(WorkersError, match=r"model 0+ and the numbers' type bfloat16; got [0-9a-f]+ and float32"):
        check_base(parent.workspace, facts)


def test_the_data_of_several_tenants_are_fetched_at_once(make_parent, tmp_path, monkeypatch):
    parent, meeting, fetched, fetch = make_parent(*TENANTS), Barrier(len(TENANTS)), [], RemoteVersion.fetch_tenant
    parent.send()

    def meet_and_fetch(version, tenant):
        if tenant not in fetched:
            meeting.wait(timeout=300)
            fetch(version, tenant)
            fetched.append(tenant)

    monkeypatch.setattr(RemoteVersion, "fetch_tenant", meet_and_fetch)
    parent.run_here(tmp_path / "home", lambda: len(fetched) == len(TENANTS))
    assert sorted(fetched) == sorted(TENANTS)
