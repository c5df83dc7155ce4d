"""A worker with nothing but the exchange and the DVC remote leaves the same files as a training here, byte by byte.

Only when and how long a tenant was trained differ.
"""

import shutil

import pytest
from processes import run_in
from shard_parent import ShardParent, list_states, read_results
from workspaces import set_params

from components.otel.spans import open_span
from components.registry.manifest import read_manifest
from components.registry.mlflow.versions import CHAMPION
from components.stages import evaluate, gate, register, train
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace

TENANTS = ("alder", "birch", "cedar", "dogwood", "elder")
TRAIN = {"max_steps": 6, "learning_rate": 0.1, "initialization": "random"}
WARM = {"mlp_hidden": 4, "warm_start": True}
OWN = {
    "alder": {"train": {**WARM, "seed": 1}},
    "birch": {"train": {"method": "lora", "lora_rank": 2}},
    "cedar": {"train": {"shared": "elder"}},
    "dogwood": {"train": {"patience": 2}},
}
SHARD = TENANTS[:4]


@pytest.fixture(scope="module")
def roots(tmp_path_factory, make_checkout_in):
    """Two equal workspaces, where alder has a champion and elder, the shared tenant, is trained."""
    folder = tmp_path_factory.mktemp("same")
    here = make_checkout_in(folder / "here", TENANTS, train=TRAIN, tenants={"alder": {"train": WARM}})
    run_in(here, "dvc", "push", "-q")
    gated = {"gate": {"non_inferiority": []}}
    set_params(here, train=TRAIN, tenants={"alder": {"train": WARM}}, **gated)
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(Workspace(here), ["alder", "elder"]))
    workspace = Workspace(here)
    versions, failures = register.register(workspace, plan(workspace, ["alder"]).collect_fingerprints())
    assert failures == []
    assert register.roll_out(workspace, versions, ["alder"])[0] == {"alder": "1"}
    set_params(here, train=TRAIN, tenants=OWN, workers={"exchange": "file:///exchange"}, **gated)
    there = shutil.copytree(here, folder / "there" / "workspace", symlinks=True)
    return here, there


@pytest.mark.slow
def test_every_method_in_one_shard(roots, tmp_path, otlp):
    here, there = roots
    for tenant in SHARD:
        assert tenant == "alder" or not (here / "out/train" / tenant).exists()
    workspace = Workspace(here)
    planned = plan(workspace, SHARD)
    assert set(planned.reasons) == set(SHARD)
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    outcomes = train.train_planned(workspace, planned.collect_fingerprints(), planned.reasons)
    outcomes += evaluate.evaluate_shard(workspace, planned.collect_fingerprints(), champions)
    assert set(list_states(outcomes).values()) == {"done"}

    registry = Workspace(there).registry
    parent = ShardParent(there, SHARD, registry.poll_aliased(CHAMPION)[CHAMPION])
    with open_span("send shard") as sending:
        parent.send(trace=sending.headers)
    worker = parent.start_worker(tmp_path / "home")
    _, log = worker.communicate()
    assert worker.returncode == 0, log
    assert "alder: training (train.seed changed), starts from champion version 1" in log
    assert parent.read_outcomes() == list_states(outcomes)
    assert list((tmp_path / "home" / "scratch").iterdir()) == []
    parent.place()

    for tenant in SHARD:
        ours, theirs = read_results(here, tenant), read_results(there, tenant)
        assert sorted(theirs) == sorted(ours)
        for name, content in ours.items():
            assert theirs[name] == content, name
    assert read_manifest(there / "out/train/alder").made_from.keys() == {"warm_start"}
    assert read_manifest(there / "out/train/cedar").made_from.keys() == {"shared"}
    assert (there / "out/evaluate/alder/champion/report.json").is_file()
    assert plan(Workspace(there), SHARD).reasons == {}
    again = evaluate.find_finished(
        Workspace(there), planned.collect_fingerprints(), registry.poll_aliased(CHAMPION)[CHAMPION]
    )
    assert {one.state for one in again} == {"skipped"}
    check_trace(otlp)


def check_trace(otlp):
    """The worker's spans, from its own process, are below the span that sent the shard."""
    shard, sending = otlp.wait_for("shard", shard="shard-1"), otlp.wait_for("send shard")
    assert (shard.trace_id, shard.parent_id, shard.kind) == (sending.trace_id, sending.span_id, "consumer")
    assert otlp.list_children(shard) == ["fetch base", "fetch data", "train", "evaluate", "send files"]
    for stage in ("train", "evaluate"):
        (whole,) = [one for one in otlp.find(stage) if one.parent_id == shard.span_id]
        tenants = [one for one in otlp.find(f"{stage} tenant") if one.parent_id == whole.span_id]
        assert sorted(one.attributes["prefixfleet.tenant"] for one in tenants) == sorted(SHARD)
        assert {one.attributes["prefixfleet.outcome"] for one in tenants} == {"done"}
        if stage == "train":
            (alder,) = [one for one in tenants if one.attributes["prefixfleet.tenant"] == "alder"]
            assert [name for name, _ in alder.events] == ["validation"] * len(alder.events)
            assert alder.events[-1][1]["prefixfleet.step"] == TRAIN["max_steps"]
