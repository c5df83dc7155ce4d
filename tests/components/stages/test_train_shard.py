"""Stage `train` with a shard: each tenant has its own outcome and files, and the engine does not change a result."""

import json

import pytest
from plain_paths import turn_off

from components.registry.artifact import load_artifact
from components.stages import train
from components.stages.plan import plan
from components.stages.workspace import Workspace
from components.training import loop

TENANTS = ("alder", "birch", "cedar", "dogwood")
TRAIN = {"initialization": "random", "max_steps": 6, "learning_rate": 0.1}
OWN = {
    "alder": {"train": {"prefix_length": 3, "mlp_hidden": 6}},
    "birch": {"train": {"method": "embedding", "batch_size": 3}},
    "cedar": {"train": {"method": "infix", "max_steps": 4}},
}
ENGINES = (
    (("packing",), {}),
    (("fused_loss",), {}),
    (("fused_attention",), {}),
    (("packing", "fused_loss"), {"train_tokens": 1}),
    ((), {"train_tokens": 40}),
    ((), {"memory_gb": 1e-6}),
)
"""Optimisations to turn off, and the section `engine`."""


def trained(root, tenants=TENANTS):
    """Every tenant's tensors, its loss and its best step."""
    workspace, found = Workspace(root), {}
    for tenant in tenants:
        measured = json.loads((root / "out/train" / tenant / "training.json").read_text())
        tensors = load_artifact(root / "out/train" / tenant, workspace.base)[0].tensors
        found[tenant] = (tensors, measured["validation_loss"], measured["best_step"])
    return found


def train_again(root):
    """Train all tenants again from a clean start, also those that are up to date."""
    for state in root.glob("out/train/*/state/train.safetensors"):
        state.unlink()
    planned = plan(Workspace(root))
    return train.train_shard(Workspace(root), [*planned.items, *planned.skipped])


def check_same(one, other, close=1e-4):
    assert one.keys() == other.keys()
    for tenant, (tensors, loss, step) in one.items():
        theirs, their_loss, their_step = other[tenant]
        assert step == their_step
        assert loss == pytest.approx(their_loss, rel=close)
        for name, tensor in tensors.items():
            assert (tensor - theirs[name]).norm() <= close * tensor.norm(), (tenant, name)


def outcomes(found):
    return {one.tenant: one.state for one in found}


@pytest.mark.slow
def test_every_engine_gives_the_same_prefixes_and_trains_nothing_again(make_root, set_params):
    root = make_root(TENANTS, train=TRAIN, tenants=OWN)
    assert outcomes(train.run(Workspace(root))) == dict.fromkeys(TENANTS, "done")
    before = trained(root)
    assert all(step > 0 for _, _, step in before.values())
    fingerprints = {item.tenant: item.fingerprint for item in plan(Workspace(root)).skipped}
    for off, engine in ENGINES:
        set_params(root, train=TRAIN, tenants=OWN, engine=engine)
        assert outcomes(train.run(Workspace(root))) == dict.fromkeys(TENANTS, "skipped")
        assert {item.tenant: item.fingerprint for item in plan(Workspace(root)).skipped} == fingerprints
        with turn_off(*off):
            assert outcomes(train_again(root)) == dict.fromkeys(TENANTS, "done")
        check_same(before, trained(root))


@pytest.mark.slow
def test_a_shard_gives_each_tenant_what_it_gets_alone(make_root):
    root = make_root(TENANTS, train=TRAIN, tenants=OWN)
    for tenant in TENANTS:
        assert outcomes(train.run(Workspace(root), [tenant])) == {tenant: "done"}
    alone = trained(root)
    assert [one.tenant for one in train_again(root)] == list(TENANTS)
    check_same(alone, trained(root))


def test_a_loss_that_is_not_a_number_fails_one_tenant_by_its_name(make_root, monkeypatch):
    root = make_root(TENANTS, train=TRAIN, tenants=OWN)
    others = [tenant for tenant in TENANTS if tenant != "birch"]
    train.run(Workspace(root), others)
    without = trained(root, others)
    together = loop.train_together

    def spoiled(base, jobs, *args):
        def spoil():
            for job in jobs:
                if job.tenant == "birch":
                    next(job.module.parameters()).data.view(-1)[0] = float("nan")
                yield job

        return together(base, spoil(), *args)

    monkeypatch.setattr(loop, "train_together", spoiled)
    found = {one.tenant: one for one in train_again(root)}
    assert outcomes(found.values()) == {**dict.fromkeys(TENANTS, "done"), "birch": "failed"}
    assert found["birch"].detail.startswith("wanted a finite validation loss; got nan at step 0")
    assert not (root / "out/train/birch/manifest.json").exists()
    check_same(without, trained(root, others))
