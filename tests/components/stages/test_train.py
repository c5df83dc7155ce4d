"""Stage `train`: cached token ids, checks against the plan, several processes, and a resumed training."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from components.model.text.texts import TextCodec
from components.stages import train
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_tenant_is_encoded_once_for_all_trainings(make_root, set_params, monkeypatch):
    root, encoded = make_root(("alder", "birch")), []
    encode = TextCodec.encode_targets
    monkeypatch.setattr(
        TextCodec, "encode_targets", lambda self, texts: encoded.append(len(texts)) or encode(self, texts)
    )
    raise_on_failures(train.run(Workspace(root)))
    assert encoded == [12, 4, 12, 4]
    tokens = [f"{tenant}/{split}.safetensors" for tenant in ("alder", "birch") for split in ("train", "validation")]
    assert files_under(root / "var/tokens") == tokens
    first = (root / "out/train/alder/prefix.safetensors").read_bytes()

    set_params(root, train={"learning_rate": 0.2})
    raise_on_failures(train.run(Workspace(root)))
    assert encoded == [12, 4, 12, 4]
    set_params(root)
    raise_on_failures(train.run(Workspace(root)))
    assert (encoded, (root / "out/train/alder/prefix.safetensors").read_bytes()) == ([12, 4, 12, 4], first)

    set_params(root, train={"max_source_tokens": 12})
    raise_on_failures(train.run(Workspace(root)))
    assert encoded == [12, 4, 12, 4] * 2
    shutil.rmtree(root / "data/birch")
    train.run(Workspace(root))
    assert files_under(root / "var/tokens") == tokens[:2]


def test_a_plan_of_other_data_is_refused_tenant_by_tenant(make_root, write_tenant):
    root = make_root(("alder", "birch"))
    raise_on_failures(train.run(Workspace(root), ["alder"]))
    planned = plan(Workspace(root))
    assert planned.reasons == {"birch": "no prefix yet"}
    fingerprints, reasons = planned.collect_fingerprints(), {"alder": "data changed", **planned.reasons}
    before = (root / "out/train/alder/prefix.safetensors").read_bytes()
    write_tenant(root / "data", "alder", start=5)
    failed, done = train.train_planned(Workspace(root), fingerprints, reasons)
    assert (failed.tenant, failed.state, done.tenant, done.state) == ("alder", "failed", "birch", "done")
    assert f"alder as planned, with fingerprint {fingerprints['alder'][:12]}; got fingerprint" in failed.detail
    assert (root / "out/train/alder/prefix.safetensors").read_bytes() == before
    first, second = train.train_planned(Workspace(root), fingerprints, {})
    assert (first.state, second.state) == ("skipped", "skipped")


@pytest.mark.slow
def test_two_processes_leave_what_one_does(make_root, set_params, caplog):
    root, found = make_root(("alder", "birch"), tenants={"birch": {"train": {"shared": "alder"}}}), []
    for processes in (1, 2):
        set_params(
            root, engine={"processes": processes}, tenants={"birch": {"train": {"shared": "alder"}}}, train={"seed": 1}
        )
        shutil.rmtree(root / "out", ignore_errors=True)
        with caplog.at_level("INFO"):
            raise_on_failures(train.run(Workspace(root)))
        found.append(
            {tenant: load_file(root / f"out/train/{tenant}/prefix.safetensors") for tenant in ("alder", "birch")}
        )
    assert "training with 2 processes" in caplog.text
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)
    assert [one.state for one in train.run(Workspace(root))] == ["skipped", "skipped"]


def test_an_interrupted_training_resumes_and_logs_its_step(make_root, monkeypatch, caplog):
    root = make_root(("alder",), train={"max_steps": 6, "validate_every": 2})
    raise_on_failures(train.run(Workspace(root)))
    whole = (root / "out/train/alder/prefix.safetensors").read_bytes()
    shutil.rmtree(root / "out/train/alder")

    def stop(progress):
        if progress.done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "report_progress", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Workspace(root))
    assert train.find_resumable(Workspace(root)) == {"alder": 4}
    with caplog.at_level("INFO", logger="prefixfleet"):
        train.run(Workspace(root))
    assert "resumes at step 4" in caplog.text
    assert (root / "out/train/alder/prefix.safetensors").read_bytes() == whole
    assert train.find_resumable(Workspace(root)) == {}


def test_a_tenant_whose_test_split_is_a_copy_of_train_fails_alone(make_root):
    root = make_root(("alder", "birch"))
    shutil.copy(root / "data/alder/train.jsonl", root / "data/alder/test.jsonl")
    failed, done = train.run(Workspace(root))
    assert (failed.tenant, failed.state, done.tenant, done.state) == ("alder", "failed", "birch", "done")
    assert "12 of 12 test examples (100.0%) have a source that is also in train" in failed.detail
