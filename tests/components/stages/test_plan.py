"""The plan from remembered digests is the plan from the files; a full check reads them all again."""

import hashlib
import json
import os
import time

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.data.digest_cache import DigestCache
from components.errors import TrainingError
from components.stages import train
from components.stages.outcome import TenantOutcome, TenantsFailedError, raise_on_failures
from components.stages.plan import Plan, PlanItem, plan
from components.stages.plan_checks import confirm_item
from components.stages.progress import join_abbreviated
from components.stages.workspace import Workspace

PAIR = ("alder", "birch")


def settled(root, *, full_check=False):
    """A workspace whose clock says that every file is old, so that all digests are remembered."""
    place = Workspace(root, full_check=full_check)
    index = root / "var" / "digests"
    place.digests = DigestCache(index, root, full_check=full_check, now_ns=lambda: time.time_ns() + 10**11)
    return place


def test_the_plan_is_the_same_with_an_index_and_without(make_root, write_tenant):
    root = make_root(("alder", "birch", "cedar"))
    train.run(Workspace(root), list(PAIR))
    index = root / "var" / "digests"
    plans = []
    for change in (lambda: None, lambda: write_tenant(root / "data", "birch", start=5)):
        change()
        for full_check in (False, True, False):
            plans.append(plan(settled(root, full_check=full_check)))
        index.write_bytes(index.read_bytes()[:-1])
        plans.append(plan(settled(root)))
        index.unlink()
        plans.append(plan(settled(root)))
        assert all(one == plans[-1] for one in plans[-5:])
    assert plans[0].sentence == "1 to train, 2 up to date: cedar (no prefix yet)"
    assert plans[-1].sentence == "2 to train, 1 up to date: birch (data changed), cedar (no prefix yet)"


def test_what_a_stat_does_not_show_is_found_by_a_full_check(make_root):
    root = make_root(("alder",))
    call = CliRunner().invoke
    train.run(Workspace(root))
    plan(settled(root))
    prefix, index = root / "out/train/alder/prefix.safetensors", root / "var" / "digests"
    content = prefix.read_bytes()
    prefix.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = prefix.stat()
    head, body = index.read_bytes().splitlines()
    known = json.loads(body)
    facts = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    known["out/train/alder/prefix.safetensors"][0] = facts  # as if the disk had rotted
    rotten = json.dumps(known).encode()
    index.write_bytes(b" ".join([*head.split()[:-1], hashlib.sha256(rotten).hexdigest().encode()]) + b"\n" + rotten)
    assert plan(Workspace(root)).items == ()
    told = call(app, ["-C", str(root), "stage", "train", "--full-check"])
    assert told.exit_code == 0, told.output
    assert "the tensors do not match" in told.stderr
    assert prefix.read_bytes() == content
    assert plan(Workspace(root)).items == ()


def test_another_tokenizer_of_the_same_model_is_trained_on_anew(make_root):
    root = make_root(("alder",))
    train.run(Workspace(root))
    file, prefix = root / "base/tokenizer.json", root / "out/train/alder/prefix.safetensors"
    values, before = json.loads(file.read_text()), prefix.read_bytes()
    ids = values["model"]["vocab"]
    letters = [name for name in ids if len(name) == 1 and name.islower()]
    ids |= dict(zip(letters, [ids[name] for name in reversed(letters)], strict=True))
    file.write_text(json.dumps(values))
    assert plan(Workspace(root)).sentence == "1 to train, 0 up to date: alder (tokenizer changed)"
    assert train.find_resumable(Workspace(root)) == {}, "what was read otherwise is not gone on with"
    raise_on_failures(train.run(Workspace(root)))
    assert prefix.read_bytes() != before
    assert plan(Workspace(root)).items == ()


def test_an_item_is_made_again_only_from_what_was_planned(make_root, write_tenant):
    root = make_root(("alder", "birch"), tenants={"alder": {"train": {"shared": "birch"}}})
    todo = plan(Workspace(root))
    fingerprints = todo.collect_fingerprints()

    def confirm(tenant):
        return confirm_item(Workspace(root), tenant, fingerprints[tenant], "no prefix yet", todo.base["digest"], {})

    assert tuple(map(confirm, fingerprints)) == todo.items
    write_tenant(root / "data", "birch", start=5)
    for tenant in fingerprints:
        with pytest.raises(TrainingError, match=f"base of {tenant} as planned, .* {fingerprints[tenant][:12]}; got f"):
            confirm(tenant)


@pytest.mark.parametrize("spoilt", ["folder", "nonsense"])
def test_an_index_that_cannot_be_kept_is_told_and_stops_nothing(make_root, caplog, spoilt):
    root = make_root(("alder",))
    index = root / "var" / "digests"
    if spoilt == "folder":
        (index / "in the way").mkdir(parents=True)
    else:
        index.write_bytes(os.urandom(1000))
    assert len(plan(settled(root)).items) == 1
    assert ("digests of files not saved" in caplog.text) == (spoilt == "folder")


def test_sentences_name_the_first_of_many_tenants():
    tenants = [f"t{number}" for number in range(2000)]
    items = tuple(PlanItem(tenant, "f" * 64, "d" * 64, None, "data changed") for tenant in tenants)
    sentence = Plan({}, items, ()).sentence
    assert sentence.startswith("2000 to train, 0 up to date: t0 (data changed), t1 (data changed)")
    assert sentence.endswith("t9 (data changed), and 1,990 more")
    assert join_abbreviated(tenants[:10]) == ", ".join(tenants[:10])
    with pytest.raises(TenantsFailedError, match=r"2000 failed \(t0: broken; .*t9: broken; and 1,990 more\)"):
        raise_on_failures(TenantOutcome(tenant, "train", "failed", "broken") for tenant in tenants)
