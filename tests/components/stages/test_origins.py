"""Prefixes that stand on a shared one, and retrainings that start from the champion, through the chain."""

import json
import re
import shutil

import pytest
import torch

from components.data.schema import tenants_in
from components.errors import ConfigError
from components.model.prefix import Prefix
from components.registry.artifact import load_artifact, save_artifact
from components.registry.manifest import read_manifest
from components.stages import evaluate, gate, register, train
from components.stages.generate import generate
from components.stages.outcome import refuse_failures
from components.stages.plan import plan
from components.stages.records import read_csv
from components.stages.workspace import Workspace

TRAIN = {"prefix_length": 2, "max_steps": 6, "validate_every": 2, "learning_rate": 0.1, "initialization": "random"}
ON_TASK = {"train": {"shared": "task", "prefix_length": 3}}
PAIR = ("alder", "task")


def states(outcomes):
    return {one.tenant: (one.state, one.detail) for one in outcomes}


def delta_of(root, tenant):
    return load_artifact(root / "out/train" / tenant, Workspace(root).base)


def prefixes(root):
    return {tenant: delta_of(root, tenant)[0].prefix.stacked() for tenant in PAIR}


def chain(root, tenants=None):
    for stage in (train, evaluate, gate):
        refuse_failures(stage.run(Workspace(root), tenants))
    place = Workspace(root)
    versions, troubles = register.register(place, place.tenants(tenants))
    assert troubles == []
    return register.roll_out(place, versions, place.tenants(tenants))


def losses(root, tenant="alder"):
    return [float(row["validation_loss"]) for row in read_csv(root / "out/train" / tenant / "loss.csv")]


@pytest.mark.parametrize("mlp_hidden", [0, 8])
def test_a_prefix_stands_frozen_on_a_shared_one(make_root, mlp_hidden):
    root = make_root(PAIR, train={**TRAIN, "mlp_hidden": mlp_hidden}, tenants={"alder": ON_TASK})
    assert [item.tenant for item in plan(Workspace(root)).items] == ["task", "alder"]
    refuse_failures(train.run(Workspace(root)))
    found = prefixes(root)
    assert [found[tenant].shape[3] for tenant in ("task", "alder")] == [2, 5]
    assert torch.equal(found["alder"][..., :2, :], found["task"])
    manifest, shared = (read_manifest(root / "out/train" / tenant) for tenant in PAIR)
    assert manifest.made_from == {"shared": shared.sha256}
    assert (manifest.prefix_length, manifest.train["prefix_length"], shared.made_from) == (5, 3, {})
    curve = losses(root)
    assert min(curve[1:]) < curve[0]


@pytest.mark.parametrize("mlp_hidden", [0, 8])
def test_joint_training_moves_both_and_starts_from_the_shared_one(make_root, mlp_hidden):
    on_task = {"train": {**ON_TASK["train"], "shared_training": "joint"}}
    root = make_root(PAIR, train={**TRAIN, "mlp_hidden": mlp_hidden}, tenants={"alder": on_task})
    refuse_failures(train.run(Workspace(root)))
    found = prefixes(root)
    manifest = read_manifest(root / "out/train/alder")
    assert manifest.made_from == {"shared": read_manifest(root / "out/train/task").sha256}
    own, shared = found["alder"], found["task"]
    assert own.shape[3] == 5
    moved = (own[..., :2, :] - shared).abs()
    assert bool((moved.amax((0, 1, 2, 4)) > 0).all())
    assert moved.max() < 6 * 0.1 + 1e-3 or mlp_hidden  # AdamW moves a value by the rate at most, six times
    assert min(losses(root)[1:]) < losses(root)[0]


def test_what_changes_the_shared_one_changes_whoever_stands_on_it(make_root, write_tenant, set_params):
    root = make_root(("alder", "birch", "task"), train=TRAIN, tenants={"alder": ON_TASK})
    refuse_failures(train.run(Workspace(root)))
    assert plan(Workspace(root)).items == ()
    write_tenant(root / "data", "task", start=3)
    todo = plan(Workspace(root))
    assert todo.sentence == "2 to train, 1 stand: task (data changed), alder (its shared prefix changed)"
    refuse_failures(train.run(Workspace(root)))
    found = prefixes(root)
    assert torch.equal(found["alder"][..., :2, :], found["task"])
    set_params(root, train=TRAIN, tenants={"alder": ON_TASK, "task": {"train": {"seed": 1}}})
    todo = plan(Workspace(root))
    assert todo.sentence == "2 to train, 1 stand: task (train.seed changed), alder (its shared prefix changed)"
    set_params(root, train=TRAIN, tenants={"alder": ON_TASK})
    assert plan(Workspace(root)).items == ()
    set_params(root, train=TRAIN)
    assert [item.reason for item in plan(Workspace(root)).items] == ["train.prefix_length, train.shared changed"]


def test_troubles_with_the_shared_one_are_told_and_stop_nobody_else(make_root, set_params):
    root = make_root(("alder", "birch", "task"), train=TRAIN, tenants={"alder": ON_TASK})
    told = states(train.run(Workspace(root), ["alder", "birch"]))
    assert told["birch"][0] == "done"
    assert told["alder"][0] == "failed"
    assert "the prefix of task, which alder's stands on; got no prefix yet" in told["alder"][1]
    assert "retrain --tenant task" in told["alder"][1]

    shutil.rmtree(root / "data/task")
    assert plan(Workspace(root)).sentence == "1 to train, 1 stand: alder (it stands on task, which has no data)"
    state, detail = states(train.run(Workspace(root)))["alder"]
    assert state == "failed"
    assert "'task'" in detail
    set_params(root, train=TRAIN, tenants={"alder": {"train": {"shared": "brich"}}})
    state, detail = states(train.run(Workspace(root)))["alder"]
    assert (state, "did you mean 'birch'?" in detail) == ("failed", True)

    with_adapters = {"alder": {"train": {"shared": "birch"}}, "birch": {"train": {"method": "prefix+adapter"}}}
    set_params(root, train=TRAIN, tenants=with_adapters)
    state, detail = states(train.run(Workspace(root)))["alder"]
    assert (state, "a tenant of method prefix; got birch, whose method is prefix+adapter" in detail) == ("failed", True)
    set_params(root, train=TRAIN, tenants={"alder": {"train": {"shared": "birch", "method": "lora"}}})
    state, detail = states(train.run(Workspace(root)))["alder"]
    assert (state, "a method with a prefix, for train.shared; got lora" in detail) == ("failed", True)
    assert not (root / "out/train/alder/prefix.safetensors").exists()


def test_the_tenants_are_not_listed_for_each_that_stands_on_another(make_root, monkeypatch):
    """Else the work would grow with the square of the fleet."""
    listed = []

    def listing(data):
        listed.append(data)
        return tenants_in(data)

    monkeypatch.setattr("components.stages.workspace.tenants_in", listing)
    standing = ("alder", "birch", "cedar")
    root = make_root(("task", *standing), train=TRAIN, tenants=dict.fromkeys(standing, ON_TASK))
    counts = []
    for tenants in (["task", "alder"], ["task", *standing]):
        shutil.rmtree(root / "out" / "train", ignore_errors=True)
        listed.clear()
        refuse_failures(train.run(Workspace(root), tenants))
        counts.append(len(listed))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("tenants", "got"),
    [
        ({"alder": {"train": {"shared": "alder"}}}, "alder on alder, which is itself"),
        ({"alder": {"train": {"shared": "birch"}}, "birch": {"train": {"shared": "task"}}}, "birch, which is on task"),
    ],
)
def test_standing_on_itself_or_on_one_that_stands_is_refused(make_root, tenants, got):
    root = make_root(("alder", "birch", "task"), train=TRAIN, tenants=tenants)
    with pytest.raises(ConfigError, match=got):
        plan(Workspace(root))


def test_a_damaged_shared_prefix_is_told(make_root):
    root = make_root(PAIR, train=TRAIN, tenants={"alder": ON_TASK})
    refuse_failures(train.run(Workspace(root), ["task"]))
    path = root / "out/train/task/prefix.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    place = Workspace(root)
    (item,) = plan(place, ["alder"]).items
    (outcome,) = train.train_shard(place, [item])
    assert re.search(r"the prefix of task.*damaged", outcome.detail)


@pytest.mark.parametrize("at", [2, 3])
def test_a_shared_start_resumes_to_the_same_file(make_root, monkeypatch, at):
    root = make_root(PAIR, train={**TRAIN, "mlp_hidden": 8}, tenants={"alder": ON_TASK})
    whole = interrupted(root, monkeypatch, at)
    assert (root / "out/train/alder/prefix.safetensors").read_bytes() == whole


def interrupted(root, monkeypatch, at):
    """Train, remember alder's file, and train alder again with Ctrl-C at the n-th validation and a resume."""
    refuse_failures(train.run(Workspace(root)))
    whole = (root / "out/train/alder/prefix.safetensors").read_bytes()
    for name in ("prefix.safetensors", "manifest.json", "state/train.safetensors"):
        (root / "out/train/alder" / name).unlink()
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Workspace(root), ["alder"])
    refuse_failures(train.run(Workspace(root), ["alder"]))
    return whole


# Warm starts.

WARM = {**TRAIN, "warm_start": True}
METHODS = {
    "prefix": {},
    "prefix-mlp": {"mlp_hidden": 8},
    "infix-mlp": {"method": "infix", "mlp_hidden": 8},
    "embedding": {"method": "embedding"},
    "full": {"method": "full", "learning_rate": 0.01},
    "adapter": {"method": "adapter", "adapter_size": 2},
    "lora": {"method": "lora", "lora_rank": 2},
    "prefix+lora-mlp": {"method": "prefix+lora", "lora_rank": 2, "mlp_hidden": 8},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_warm_start_begins_where_the_champion_ended(make_root, write_lines, examples_of, set_params, method, caplog):
    values = {**WARM, **METHODS[method]}
    root = make_root(("alder",), train=values, gate={"non_inferiority": []})
    with caplog.at_level("INFO", logger="prefixfleet"):
        assert chain(root) == {"alder": "1"}
    assert "train.warm_start finds no champion" in caplog.text
    first = read_manifest(root / "out/train/alder")
    assert first.made_from == {}
    best = min(losses(root))
    assert best < losses(root)[0]
    write_lines(root / "data/alder/train.jsonl", examples_of("alder", 14, start=2))
    caplog.clear()
    with caplog.at_level("INFO", logger="prefixfleet"):
        refuse_failures(train.run(Workspace(root)))
    assert "starts from champion version 1" in caplog.text
    assert losses(root)[0] == pytest.approx(best, rel=1e-5)
    manifest = read_manifest(root / "out/train/alder")
    assert manifest.made_from == {"warm_start": first.sha256}
    assert manifest.fingerprint != first.fingerprint
    assert min(losses(root)) <= best


@pytest.mark.parametrize(("method", "at"), [("prefix-mlp", 1), ("prefix-mlp", 3), ("lora", 2), ("full", 1)])
def test_a_resumed_warm_start_ends_in_the_same_file(make_root, set_params, monkeypatch, method, at):
    values = {**WARM, **METHODS[method]}
    root = make_root(("alder",), train=values)
    assert chain(root) == {"alder": "1"}
    state = (root / "out/train/alder/state/train.safetensors").read_bytes()
    set_params(root, train={**values, "seed": 1})
    refuse_failures(train.run(Workspace(root)))
    whole = (root / "out/train/alder/prefix.safetensors").read_bytes()
    made_from = read_manifest(root / "out/train/alder").made_from
    assert set(made_from) == {"warm_start"}
    for name in ("prefix.safetensors", "manifest.json"):
        (root / "out/train/alder" / name).unlink()
    (root / "out/train/alder/state/train.safetensors").write_bytes(state)
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Workspace(root))
    refuse_failures(train.run(Workspace(root)))
    assert read_manifest(root / "out/train/alder").made_from == made_from
    assert (root / "out/train/alder/prefix.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"prefix_length": 3}, "another train.prefix_length"),
        ({"mlp_hidden": 8}, {"mlp_hidden": 4}, "another train.mlp_hidden"),
        ({}, {"method": "lora"}, "another train.method"),
        ({"method": "lora"}, {"method": "lora", "lora_alpha": 4.0}, "another train.lora_alpha"),
        ({"method": "lora"}, {"method": "lora", "lora_targets": ["c_proj"]}, "another train.lora_targets"),
        ({"method": "adapter"}, {"method": "adapter", "adapter_share": 0.2}, "another train.adapter_share"),
        ({"method": "top-k"}, {"method": "top-k", "top_layers": 1}, "another train.top_layers"),
        ({}, {"top_layers": 1, "lora_rank": 3, "seed": 1}, None),
    ],
)
def test_a_champion_that_does_not_fit_is_told_and_not_started_from(make_root, set_params, caplog, before, after, told):
    root = make_root(("alder",), train={**WARM, "learning_rate": 0.01, **before})
    assert chain(root) == {"alder": "1"}
    set_params(root, train={**WARM, "learning_rate": 0.01, **before, **after})
    with caplog.at_level("INFO", logger="prefixfleet"):
        refuse_failures(train.run(Workspace(root)))
    made_from = read_manifest(root / "out/train/alder").made_from
    if told is None:
        assert set(made_from) == {"warm_start"}
    else:
        assert f"alder: no warm start from champion version 1: it has {told}" in caplog.text
        assert "starts clean" in caplog.text
        assert made_from == {}
    with caplog.at_level("INFO", logger="prefixfleet"):
        assert generate(Workspace(root), "alder", ["thing: boat"])


def test_a_champion_of_another_base_or_with_damage_is_told_and_not_started_from(make_root, set_params, caplog):
    from transformers import GPT2LMHeadModel

    root = make_root(("alder",), train=WARM)
    assert chain(root) == {"alder": "1"}
    model = GPT2LMHeadModel.from_pretrained(root / "base")
    model.transformer.wte.weight.data.mul_(1.5)
    model.save_pretrained(root / "base")
    with caplog.at_level("INFO", logger="prefixfleet"):
        refuse_failures(train.run(Workspace(root)))
    assert "no warm start from champion version 1: wanted the base" in caplog.text
    assert read_manifest(root / "out/train/alder").made_from == {}

    (stored,) = (root / "var/mlflow/artifacts").glob("**/prefix.safetensors")
    stored.write_bytes(stored.read_bytes()[:-1])
    shutil.rmtree(root / "var/champions", ignore_errors=True)
    set_params(root, train={**WARM, "seed": 5})
    with caplog.at_level("INFO", logger="prefixfleet"):
        refuse_failures(train.run(Workspace(root)))
    assert read_manifest(root / "out/train/alder").made_from == {}


def test_a_warm_start_on_a_shared_prefix(make_root, set_params, write_tenant, caplog):
    """Frozen: own slots go on under a new shared prefix. Joint: a new shared prefix is a new start."""

    def with_alder(**values):
        return {"alder": {"train": {"shared": "task", "prefix_length": 3, "warm_start": True, **values}}}

    root = make_root(PAIR, train=TRAIN, tenants=with_alder(), gate={"non_inferiority": []})
    assert chain(root) == {"alder": "1", "task": "1"}
    best = min(losses(root))
    champion = read_manifest(root / "out/train/alder").sha256
    set_params(root, train=TRAIN, tenants=with_alder(shared_training="joint"), gate={"non_inferiority": []})
    refuse_failures(train.run(Workspace(root)))
    assert losses(root)[0] == pytest.approx(best, rel=1e-5)
    made_from = read_manifest(root / "out/train/alder").made_from
    assert made_from == {"shared": read_manifest(root / "out/train/task").sha256, "warm_start": champion}
    assert chain(root) == {"alder": "2"}
    write_tenant(root / "data", "task", start=3)
    with caplog.at_level("INFO", logger="prefixfleet"):
        refuse_failures(train.run(Workspace(root)))
    assert "no warm start from champion version 2: it has another shared prefix" in caplog.text
    assert set(read_manifest(root / "out/train/alder").made_from) == {"shared"}
    set_params(root, train=TRAIN, tenants=with_alder(shared_training="frozen"), gate={"non_inferiority": []})
    with caplog.at_level("INFO", logger="prefixfleet"):
        refuse_failures(train.run(Workspace(root)))
    assert "it has another train.shared_training" in caplog.text
    found = prefixes(root)
    assert torch.equal(found["alder"][..., :2, :], found["task"])
    assert json.loads((root / "out/train/alder/manifest.json").read_text())["train"]["shared_training"] == "frozen"


def replaced(root, tenant):
    """Put other tensors under the same fingerprint, as an import does."""
    folder = root / "out/train" / tenant
    delta, manifest = load_artifact(folder, None)
    facts = manifest.model_dump(
        exclude={"schema_version", "sha256", "parameters", "shapes", "dtype", "prefix_length", "made_from"}
    )
    doubled = Prefix({name: 2 * tensor for name, tensor in delta.prefix.tensors.items()})
    return save_artifact(folder, doubled, **facts)


def test_other_tensors_under_a_shared_fingerprint_train_whoever_stands_on_them_again(make_root):
    root = make_root(PAIR, train=TRAIN, tenants={"alder": ON_TASK})
    refuse_failures(train.run(Workspace(root)))
    shared = replaced(root, "task")
    assert plan(Workspace(root)).sentence == "1 to train, 1 stand: alder (its shared prefix changed)"
    refuse_failures(train.run(Workspace(root)))
    assert read_manifest(root / "out/train/alder").made_from == {"shared": shared.sha256}
    found = prefixes(root)
    assert torch.equal(found["alder"][..., :2, :], found["task"])


def test_a_stopped_run_is_not_resumed_on_another_shared_prefix(make_root, monkeypatch):
    root = make_root(PAIR, train=TRAIN, tenants={"alder": ON_TASK})
    refuse_failures(train.run(Workspace(root), ["task"]))

    def stop(progress):
        if progress.done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Workspace(root), ["alder"])
    assert train.resumable(Workspace(root)) == {"alder": 4}
    replaced(root, "task")
    assert train.resumable(Workspace(root)) == {}
    refuse_failures(train.run(Workspace(root)))
    found = prefixes(root)
    assert torch.equal(found["alder"][..., :2, :], found["task"])


def test_a_warm_start_with_another_number_of_shared_slots_starts_clean(make_root, set_params, caplog):
    on_task = {"alder": {"train": {"shared": "task", "prefix_length": 3, "warm_start": True}}}
    root = make_root(PAIR, train=TRAIN, tenants=on_task, gate={"non_inferiority": []})
    assert chain(root) == {"alder": "1", "task": "1"}
    longer = {**on_task, "task": {"train": {"prefix_length": 4}}}
    set_params(root, train=TRAIN, tenants=longer, gate={"non_inferiority": []})
    with caplog.at_level("INFO", logger="prefixfleet"):
        refuse_failures(train.run(Workspace(root)))
    assert "alder: no warm start from champion version 1: it has another number of shared slots" in caplog.text
    assert read_manifest(root / "out/train/alder").prefix_length == 7


def test_a_champion_of_an_older_schema_is_told_and_not_compared(make_root, set_params, caplog):
    root = make_root(("alder",), train=TRAIN)
    assert chain(root) == {"alder": "1"}
    (stored,) = (root / "var/mlflow/artifacts").glob("**/manifest.json")
    stored.write_text(json.dumps({**json.loads(stored.read_text()), "schema_version": 1}))
    shutil.rmtree(root / "var/champions", ignore_errors=True)
    set_params(root, train={**TRAIN, "seed": 5})
    with caplog.at_level("INFO", logger="prefixfleet"):
        assert chain(root) == {"alder": "2"}
    assert "champion version 1 is of another schema, not compared" in caplog.text


def test_a_champion_reads_sources_as_it_was_trained(make_root, set_params):
    root = make_root(("alder",), train={**TRAIN, "max_source_tokens": 5})
    assert chain(root) == {"alder": "1"}
    sources = ["thing: boat | colour: red | number: 1", "thing: door | colour: blue | number: 2"]
    before = generate(Workspace(root), "alder", sources)
    set_params(root, train=TRAIN)
    assert generate(Workspace(root), "alder", sources) == before
    assert before[0] == before[1]
