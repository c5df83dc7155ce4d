"""Slot 0 of BOS through the stages: artifact, warm start, shared prefix, PEFT, and the ids of texts."""

import json

import pytest
import torch
from tokenizer_kinds import make_tokenizer

from components.data.schema import Example
from components.errors import ConfigError
from components.model.decoding import Decoding
from components.model.decoding.generate import make_requests
from components.model.prefix.first_slot import has_bos_slot
from components.registry.artifact import load_artifact
from components.registry.manifest import read_manifest
from components.stages import train
from components.stages.commands.peft_exchange import export_peft, import_peft
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.starting_points import _find_differences
from components.stages.workspace import Workspace
from components.training.prepare import prepare_job

TRAIN = {"prefix_length": 3, "max_steps": 4, "validate_every": 2, "learning_rate": 0.1, "initialization": "random"}
BOS = {**TRAIN, "first_slot": "bos"}


def give_bos(root):
    """Name the base's end token its BOS too, as GPT-2's tokenizer does."""
    file = root / "base/tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"bos_token": "<|endoftext|>"}))
    return root


def load_trained(root, tenant="alder"):
    workspace = Workspace(root)
    delta, manifest = load_artifact(root / "out/train" / tenant, workspace.base)
    return workspace.base, delta, manifest


def test_the_artifact_holds_bos_in_slot_0_and_says_so(make_root, set_params, stop_and_resume):
    root = give_bos(make_root(("alder",), train=TRAIN))
    raise_on_failures(train.run(Workspace(root)))
    base, free, manifest = load_trained(root)
    assert "first_slot" in manifest.train
    assert not has_bos_slot(base, free.prefix, base.bos_id)
    set_params(root, train=BOS)
    assert plan(Workspace(root)).sentence == "1 to train, 0 up to date: alder (train.first_slot changed)"
    raise_on_failures(train.run(Workspace(root)))
    base, delta, manifest = load_trained(root)
    assert has_bos_slot(base, delta.prefix, base.bos_id)
    assert (manifest.train["first_slot"], manifest.prefix_length) == ("bos", 3)
    assert 3 * manifest.parameters == 2 * free.parameter_count
    assert plan(Workspace(root)).items == ()
    for name in ("prefix.safetensors", "manifest.json", "state/train.safetensors"):
        (root / "out/train/alder" / name).unlink()
    stop_and_resume(root, 2)
    assert read_manifest(root / "out/train/alder").sha256 == manifest.sha256


def test_a_prefix_of_an_earlier_release_is_up_to_date(make_root):
    root = make_root(("alder",), train=TRAIN)
    raise_on_failures(train.run(Workspace(root)))
    file = root / "out/train/alder/manifest.json"
    values = json.loads(file.read_text())
    del values["train"]["first_slot"]
    file.write_text(json.dumps(values))
    assert plan(Workspace(root)).items == ()


def test_a_base_without_bos_stops_the_tenant_that_asks_for_it(make_root):
    root = make_root(("alder", "birch"), train=TRAIN, tenants={"alder": {"train": {"first_slot": "bos"}}})
    alder, birch = train.run(Workspace(root))
    assert (alder.state, birch.state) == ("failed", "done")
    assert "a tokenizer with BOS for train.first_slot: bos; got none in that of base" in alder.detail


@pytest.mark.parametrize(("before", "now", "names"), [
    (BOS, BOS, []), (TRAIN, TRAIN, []), (TRAIN, BOS, ["train.first_slot"]), (BOS, TRAIN, ["train.first_slot"]),
])  # fmt: skip
def test_a_champion_with_another_first_slot_is_no_start(make_root, set_params, before, now, names):
    root = give_bos(make_root(("alder",), train={**before, "max_steps": 0}))
    raise_on_failures(train.run(Workspace(root)))
    manifest = read_manifest(root / "out/train/alder")
    old = manifest.model_copy(update={"train": {k: v for k, v in manifest.train.items() if k != "first_slot"}})
    set_params(root, train=now)
    section = Workspace(root).params.train
    assert _find_differences(manifest, section, None) == names
    if before is TRAIN:
        assert _find_differences(old, section, None) == names


@pytest.mark.parametrize("training", ["frozen", "joint"])
def test_a_prefix_on_a_shared_one_has_its_slot_0(make_root, set_params, training):
    own = {"train": {"shared": "task", "shared_training": training}}
    root = give_bos(make_root(("alder", "task"), train=BOS, tenants={"alder": own}))
    raise_on_failures(train.run(Workspace(root)))
    base, delta, manifest = load_trained(root)
    assert (delta.length, delta.frozen_length) == (6, 3 if training == "frozen" else 1)
    assert has_bos_slot(base, delta.prefix, base.bos_id)
    set_params(root, train=BOS, tenants={"alder": own, "task": {"train": {"first_slot": "free"}}})
    outcomes = {one.tenant: one for one in train.run(Workspace(root))}
    assert (outcomes["alder"].state, outcomes["task"].state) == ("failed", "done")
    assert "train.first_slot: bos of task, as of alder" in outcomes["alder"].detail
    assert manifest.sha256 == read_manifest(root / "out/train/alder").sha256


def test_peft_gets_all_slots_and_an_import_must_have_bos_where_it_is_asked_for(make_root, set_params, tmp_path):
    root = give_bos(make_root(("alder",), train=BOS))
    raise_on_failures(train.run(Workspace(root)))
    trained = load_trained(root)[1].prefix
    export_peft(Workspace(root), "alder", tmp_path / "bos", trained=True)
    imported = import_peft(Workspace(root), "alder", tmp_path / "bos")
    assert imported.train["first_slot"] == "bos"
    found = load_trained(root)[1].prefix
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in trained.tensors.items())
    set_params(root, train=TRAIN)
    raise_on_failures(train.run(Workspace(root)))
    export_peft(Workspace(root), "alder", tmp_path / "free", trained=True)
    set_params(root, train=BOS)
    with pytest.raises(ConfigError, match=r"BOS in slot 0.*got another slot 0.*alder.train.first_slot: free"):
        import_peft(Workspace(root), "alder", tmp_path / "free")


@pytest.mark.parametrize("first_slot", ["free", "bos"])
def test_a_source_has_the_tokenizers_bos_in_training_evaluation_and_serving(make_root, build_model, first_slot):
    root = make_root(("alder",), train={**TRAIN, "first_slot": first_slot})
    tokenizer = make_tokenizer("llama3")
    build_model("gpt2", vocab_size=len(tokenizer), n_positions=160).save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    raise_on_failures(train.run(Workspace(root)))
    base, delta, manifest = load_trained(root)
    source = "the cat sat"
    config = manifest.parse_train_config(root)
    examples = [Example(source, ("on a mat",))]
    trained = list(prepare_job(base, config, examples, examples).train[0].source_ids)
    (request,) = make_requests(base, delta, [source], Decoding(max_new_tokens=4))
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert trained == list(request.source) == [*tokenizer(source)["input_ids"], eos]
    assert (trained[0], trained.count(bos)) == (bos, 1)
    assert has_bos_slot(base, delta.prefix, bos) == (first_slot == "bos")
