"""Checks against a plan: what was not planned is refused by name."""

import pytest

from components.errors import TrainingError
from components.stages import train
from components.stages.plan import plan
from components.stages.plan_checks import confirm_item, read_planned_manifest
from components.stages.workspace import Workspace


def test_an_item_is_rebuilt_only_from_the_planned_inputs(make_root, write_tenant):
    root = make_root(("alder", "birch"), tenants={"alder": {"train": {"shared": "birch"}}})
    planned = plan(Workspace(root))
    fingerprints = planned.collect_fingerprints()

    def confirm(tenant):
        return confirm_item(Workspace(root), tenant, fingerprints[tenant], "no prefix yet", planned.base["digest"], {})

    assert tuple(map(confirm, fingerprints)) == planned.items
    write_tenant(root / "data", "birch", start=5)
    for tenant in fingerprints:
        with pytest.raises(TrainingError, match=f"base of {tenant} as planned, .* {fingerprints[tenant][:12]}; got f"):
            confirm(tenant)


def test_only_the_planned_prefix_is_read(make_root):
    root = make_root(("alder", "birch"), tenants={"alder": {"train": {"shared": "birch"}}})
    train.run(Workspace(root))
    workspace = Workspace(root)
    fingerprints = plan(workspace).collect_fingerprints()
    folder = root / "out/train/alder"
    assert read_planned_manifest(workspace, "alder", fingerprints["alder"]).fingerprint == fingerprints["alder"]
    with pytest.raises(TrainingError, match=f"alder's prefix .*got fingerprint .* not {fingerprints['birch'][:12]} as"):
        read_planned_manifest(workspace, "alder", fingerprints["birch"])
    shared = root / "out/train/birch/prefix.safetensors"
    shared.write_bytes(shared.read_bytes()[:-1])
    with pytest.raises(TrainingError, match=r"alder's prefix .*got its shared prefix changed"):
        read_planned_manifest(workspace, "alder", fingerprints["alder"])
    (folder / "manifest.json").write_text("{")
    with pytest.raises(TrainingError, match=r"alder's prefix .*got its prefix is damaged"):
        read_planned_manifest(workspace, "alder", fingerprints["alder"])
    (folder / "manifest.json").unlink()
    (folder / "prefix.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"alder's prefix .*got no prefix yet"):
        read_planned_manifest(workspace, "alder", fingerprints["alder"])
