"""Prefixes that build on a shared one, through training."""

import re
import shutil

import pytest
import torch

from components.data.schema import list_tenants
from components.errors import ConfigError
from components.model.prefix.prefix import Prefix
from components.registry.artifact import load_artifact, save_artifact
from components.registry.manifest import read_manifest
from components.stages import train
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace

TRAIN = {"prefix_length": 2, "max_steps": 6, "validate_every": 2, "learning_rate": 0.1, "initialization": "random"}
WITH_TASK = {"train": {"shared": "task", "prefix_length": 3}}
PAIR = ("alder", "task")


def get_states(outcomes):
    return {one.tenant: (one.state, one.detail) for one in outcomes}


def train_interrupted(root, stop_and_resume, at):
    """Train, remember alder's file, and train alder again with Ctrl-C at the n-th validation and a resume."""
    raise_on_failures(train.run(Workspace(root)))
    whole = (root / "out/train/alder/prefix.safetensors").read_bytes()
    for name in ("prefix.safetensors", "manifest.json", "state/train.safetensors"):
        (root / "out/train/alder" / name).unlink()
    stop_and_resume(root, at, ["alder"])
    return whole


def replace_tensors(root, tenant):
    """Replace the tensors, keeping the fingerprint, as an import does."""
    folder = root / "out/train" / tenant
    delta, manifest = load_artifact(folder, None)
    facts = manifest.model_dump(
        exclude={"schema_version", "sha256", "parameters", "shapes", "dtype", "prefix_length", "made_from"}
    )
    doubled = Prefix({name: 2 * tensor for name, tensor in delta.prefix.tensors.items()})
    return save_artifact(folder, doubled, **facts)


@pytest.mark.parametrize("mlp_hidden", [0, 8])
def test_a_prefix_builds_on_a_frozen_shared_one(make_root, mlp_hidden, losses_of, prefixes_of):
    root = make_root(PAIR, train={**TRAIN, "mlp_hidden": mlp_hidden}, tenants={"alder": WITH_TASK})
    assert [item.tenant for item in plan(Workspace(root)).items] == ["task", "alder"]
    raise_on_failures(train.run(Workspace(root)))
    found = prefixes_of(root, *PAIR)
    assert [found[tenant].shape[3] for tenant in ("task", "alder")] == [2, 5]
    assert torch.equal(found["alder"][..., :2, :], found["task"])
    manifest, shared = (read_manifest(root / "out/train" / tenant) for tenant in PAIR)
    assert manifest.made_from == {"shared": shared.sha256}
    assert (manifest.prefix_length, manifest.train["prefix_length"], shared.made_from) == (5, 3, {})
    curve = losses_of(root)
    assert min(curve[1:]) < curve[0]


@pytest.mark.parametrize("mlp_hidden", [0, 8])
def test_joint_training_moves_both_and_starts_from_the_shared_one(make_root, mlp_hidden, losses_of, prefixes_of):
    on_task = {"train": {**WITH_TASK["train"], "shared_training": "joint"}}
    root = make_root(PAIR, train={**TRAIN, "mlp_hidden": mlp_hidden}, tenants={"alder": on_task})
    raise_on_failures(train.run(Workspace(root)))
    found = prefixes_of(root, *PAIR)
    manifest = read_manifest(root / "out/train/alder")
    assert manifest.made_from == {"shared": read_manifest(root / "out/train/task").sha256}
    own, shared = found["alder"], found["task"]
    assert own.shape[3] == 5
    moved = (own[..., :2, :] - shared).abs()
    assert bool((moved.amax((0, 1, 2, 4)) > 0).all())
    assert moved.max() < 6 * 0.1 + 1e-3 or mlp_hidden  # AdamW moves a value by the rate at most, six times
    assert min(losses_of(root)[1:]) < losses_of(root)[0]


def test_a_changed_shared_prefix_trains_the_tenants_that_build_on_it(make_root, write_tenant, set_params, prefixes_of):
    root = make_root(("alder", "birch", "task"), train=TRAIN, tenants={"alder": WITH_TASK})
    raise_on_failures(train.run(Workspace(root)))
    assert plan(Workspace(root)).items == ()
    write_tenant(root / "data", "task", start=3)
    planned = plan(Workspace(root))
    assert planned.sentence == "2 to train, 1 up to date: task (data changed), alder (its shared prefix changed)"
    raise_on_failures(train.run(Workspace(root)))
    found = prefixes_of(root, *PAIR)
    assert torch.equal(found["alder"][..., :2, :], found["task"])
    set_params(root, train=TRAIN, tenants={"alder": WITH_TASK, "task": {"train": {"seed": 1}}})
    planned = plan(Workspace(root))
    assert planned.sentence == "2 to train, 1 up to date: task (train.seed changed), alder (its shared prefix changed)"
    set_params(root, train=TRAIN, tenants={"alder": WITH_TASK})
    assert plan(Workspace(root)).items == ()
    set_params(root, train=TRAIN)
    assert [item.reason for item in plan(Workspace(root)).items] == ["train.prefix_length, train.shared changed"]


def test_errors_of_a_shared_prefix_stop_only_the_tenants_that_build_on_it(make_root, set_params):
    root = make_root(("alder", "birch", "task"), train=TRAIN, tenants={"alder": WITH_TASK})
    outcomes = get_states(train.run(Workspace(root), ["alder", "birch"]))
    assert outcomes["birch"][0] == "done"
    assert outcomes["alder"][0] == "failed"
    assert "the prefix of task, which the prefix of alder builds on; got no prefix yet" in outcomes["alder"][1]
    assert "retrain --tenant task" in outcomes["alder"][1]

    shutil.rmtree(root / "data/task")
    assert plan(Workspace(root)).sentence == "1 to train, 1 up to date: alder (train.shared is task, which has no data)"
    state, detail = get_states(train.run(Workspace(root)))["alder"]
    assert state == "failed"
    assert "'task'" in detail
    set_params(root, train=TRAIN, tenants={"alder": {"train": {"shared": "brich"}}})
    state, detail = get_states(train.run(Workspace(root)))["alder"]
    assert (state, "did you mean 'birch'?" in detail) == ("failed", True)

    with_adapters = {"alder": {"train": {"shared": "birch"}}, "birch": {"train": {"method": "prefix+adapter"}}}
    set_params(root, train=TRAIN, tenants=with_adapters)
    state, detail = get_states(train.run(Workspace(root)))["alder"]
    assert (state, "a tenant of method prefix; got birch, whose method is prefix+adapter" in detail) == ("failed", True)
    set_params(root, train=TRAIN, tenants={"alder": {"train": {"shared": "birch", "method": "lora"}}})
    state, detail = get_states(train.run(Workspace(root)))["alder"]
    assert (state, "a method with a prefix, for train.shared; got lora" in detail) == ("failed", True)
    assert not (root / "out/train/alder/prefix.safetensors").exists()


def test_the_tenants_are_not_listed_for_each_one_with_a_shared_prefix(make_root, monkeypatch):
    """Otherwise the work would grow with the square of the number of tenants."""
    listed = []

    def listing(data):
        listed.append(data)
        return list_tenants(data)

    monkeypatch.setattr("components.stages.workspace.list_tenants", listing)
    dependents = ("alder", "birch", "cedar")
    root = make_root(("task", *dependents), train=TRAIN, tenants=dict.fromkeys(dependents, WITH_TASK))
    counts = []
    for tenants in (["task", "alder"], ["task", *dependents]):
        shutil.rmtree(root / "out" / "train", ignore_errors=True)
        listed.clear()
        raise_on_failures(train.run(Workspace(root), tenants))
        counts.append(len(listed))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("tenants", "got"),
    [
        ({"alder": {"train": {"shared": "alder"}}}, "got alder itself"),
        (
            {"alder": {"train": {"shared": "birch"}}, "birch": {"train": {"shared": "task"}}},
            "got birch, whose train.shared is task",
        ),
    ],
)
def test_sharing_with_itself_or_with_one_that_shares_is_refused(make_root, tenants, got):
    root = make_root(("alder", "birch", "task"), train=TRAIN, tenants=tenants)
    with pytest.raises(ConfigError, match=got):
        plan(Workspace(root))


def test_a_damaged_shared_prefix_is_named(make_root):
    root = make_root(PAIR, train=TRAIN, tenants={"alder": WITH_TASK})
    raise_on_failures(train.run(Workspace(root), ["task"]))
    path = root / "out/train/task/prefix.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    workspace = Workspace(root)
    (item,) = plan(workspace, ["alder"]).items
    (outcome,) = train.train_shard(workspace, [item])
    assert re.search(r"the prefix of task.*damaged", outcome.detail)


@pytest.mark.parametrize("at", [2, 3])
def test_a_shared_start_resumes_to_the_same_file(make_root, stop_and_resume, at):
    root = make_root(PAIR, train={**TRAIN, "mlp_hidden": 8}, tenants={"alder": WITH_TASK})
    whole = train_interrupted(root, stop_and_resume, at)
    assert (root / "out/train/alder/prefix.safetensors").read_bytes() == whole


def test_replaced_shared_tensors_train_the_tenants_that_build_on_them_again(make_root, prefixes_of):
    root = make_root(PAIR, train=TRAIN, tenants={"alder": WITH_TASK})
    raise_on_failures(train.run(Workspace(root)))
    shared = replace_tensors(root, "task")
    assert plan(Workspace(root)).sentence == "1 to train, 1 up to date: alder (its shared prefix changed)"
    raise_on_failures(train.run(Workspace(root)))
    assert read_manifest(root / "out/train/alder").made_from == {"shared": shared.sha256}
    found = prefixes_of(root, *PAIR)
    assert torch.equal(found["alder"][..., :2, :], found["task"])


def test_a_stopped_run_does_not_resume_with_another_shared_prefix(make_root, monkeypatch, prefixes_of):
    root = make_root(PAIR, train=TRAIN, tenants={"alder": WITH_TASK})
    raise_on_failures(train.run(Workspace(root), ["task"]))

    def stop(progress):
        if progress.done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "report_progress", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Workspace(root), ["alder"])
    assert train.find_resumable(Workspace(root)) == {"alder": 4}
    replace_tensors(root, "task")
    assert train.find_resumable(Workspace(root)) == {}
    raise_on_failures(train.run(Workspace(root)))
    found = prefixes_of(root, *PAIR)
    assert torch.equal(found["alder"][..., :2, :], found["task"])
