"""The plan with cached digests equals the plan without; a full check reads all files again."""

import hashlib
import json
import os
import time

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.data.digest_cache import DigestCache
from components.stages import train
from components.stages.outcome import raise_on_failures
from components.stages.plan import Plan, PlanItem, plan
from components.stages.workspace import Workspace

PAIR = ("alder", "birch")


def open_settled(root, *, full_check=False):
    """Open a workspace whose clock says that every file is old, so that all digests are cached."""
    workspace = Workspace(root, full_check=full_check)
    index = root / "var" / "digests"
    workspace.digests = DigestCache(index, root, full_check=full_check, now_ns=lambda: time.time_ns() + 10**11)
    return workspace


def test_the_plan_is_the_same_with_an_index_and_without(make_root, write_tenant):
    root = make_root(("alder", "birch", "cedar"))
    train.run(Workspace(root), list(PAIR))
    index = root / "var" / "digests"
    plans = []
    for change in (lambda: None, lambda: write_tenant(root / "data", "birch", start=5)):
        change()
        for full_check in (False, True, False):
            plans.append(plan(open_settled(root, full_check=full_check)))
        index.write_bytes(index.read_bytes()[:-1])
        plans.append(plan(open_settled(root)))
        index.unlink()
        plans.append(plan(open_settled(root)))
        assert all(one == plans[-1] for one in plans[-5:])
    assert plans[0].sentence == "1 to train, 2 up to date: cedar (no prefix yet)"
    assert plans[-1].sentence == "2 to train, 1 up to date: birch (data changed), cedar (no prefix yet)"


def test_a_full_check_finds_what_a_stat_does_not_show(make_root):
    root = make_root(("alder",))
    call = CliRunner().invoke
    train.run(Workspace(root))
    plan(open_settled(root))
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
    result = call(app, ["-C", str(root), "stage", "train", "--full-check"])
    assert result.exit_code == 0, result.output
    assert "the tensors do not match" in result.stderr
    assert prefix.read_bytes() == content
    assert plan(Workspace(root)).items == ()


def test_another_tokenizer_of_the_same_model_and_another_schema_train_again(make_root):
    root = make_root(("alder",))
    train.run(Workspace(root))
    file, prefix = root / "base/tokenizer.json", root / "out/train/alder/prefix.safetensors"
    values, before = json.loads(file.read_text()), prefix.read_bytes()
    ids = values["model"]["vocab"]
    letters = [name for name in ids if len(name) == 1 and name.islower()]
    ids |= dict(zip(letters, [ids[name] for name in reversed(letters)], strict=True))
    file.write_text(json.dumps(values))
    assert plan(Workspace(root)).sentence == "1 to train, 0 up to date: alder (tokenizer changed)"
    assert train.find_resumable(Workspace(root)) == {}, "a run with another tokenizer is not resumed"
    raise_on_failures(train.run(Workspace(root)))
    assert prefix.read_bytes() != before
    assert plan(Workspace(root)).items == ()
    manifest = root / "out/train/alder/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 1}))
    assert plan(Workspace(root)).sentence == "1 to train, 0 up to date: alder (artifact schema changed)"


@pytest.mark.parametrize("spoilt", ["folder", "nonsense"])
def test_an_index_that_cannot_be_saved_is_a_warning(make_root, caplog, spoilt):
    root = make_root(("alder",))
    index = root / "var" / "digests"
    if spoilt == "folder":
        (index / "in the way").mkdir(parents=True)
    else:
        index.write_bytes(os.urandom(1000))
    assert len(plan(open_settled(root)).items) == 1
    assert ("digests of files not saved" in caplog.text) == (spoilt == "folder")


def test_sentences_name_the_first_of_many_tenants():
    tenants = [f"t{number}" for number in range(2000)]
    items = tuple(PlanItem(tenant, "f" * 64, "d" * 64, None, "data changed") for tenant in tenants)
    sentence = Plan({}, items, ()).sentence
    assert sentence.startswith("2000 to train, 0 up to date: t0 (data changed), t1 (data changed)")
    assert sentence.endswith("t9 (data changed), and 1,990 more")
