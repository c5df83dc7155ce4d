"""Trainings that start from the champion, through all stages; champions that do not fit are not used."""

import json
import re
import shutil

import pytest
import torch

from components.registry.manifest import read_manifest
from components.stages import evaluate, gate, register, train
from components.stages.commands.generate import generate
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace

TRAIN = {"prefix_length": 2, "max_steps": 6, "validate_every": 2, "learning_rate": 0.1, "initialization": "random"}
PAIR = ("alder", "task")
WARM = {**TRAIN, "warm_start": True}
METHODS = {
    "prefix": {},
    "prefix-mlp": {"mlp_hidden": 8},
    "infix-mlp": {"method": "infix", "mlp_hidden": 8},
    "embedding": {"method": "embedding"},
    "full": {"method": "full", "learning_rate": 0.01},
    "adapter": {"method": "adapter", "adapter_size": 2},
    "lora": {"method": "lora", "lora_rank": 2},
    "prefix-and-lora-mlp": {"method": "prefix+lora", "lora_rank": 2, "mlp_hidden": 8},
}


def register_all(root, tenants=None):
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(Workspace(root), tenants))
    workspace = Workspace(root)
    versions, failures = register.register(workspace, plan(workspace, tenants).collect_fingerprints())
    assert failures == []
    return register.roll_out(workspace, versions, workspace.list_tenants(tenants))[0]


def test_a_warm_start_begins_where_the_champion_ended(make_root, write_lines, examples_of, caplog, losses_of):
    """Every method is a tenant of one workspace."""
    root = make_root(
        tuple(METHODS),
        train=WARM,
        gate={"non_inferiority": []},
        tenants={tenant: {"train": values} for tenant, values in METHODS.items()},
    )
    with caplog.at_level("INFO", logger="prefixfleet"):
        assert register_all(root) == dict.fromkeys(METHODS, "1")
    first, best = {}, {}
    for tenant in METHODS:
        assert f"{tenant}: no warm start: there is no champion" in caplog.text
        first[tenant] = read_manifest(root / "out/train" / tenant)
        assert first[tenant].made_from == {}
        best[tenant] = min(losses_of(root, tenant))
        assert best[tenant] < losses_of(root, tenant)[0]
        write_lines(root / "data" / tenant / "train.jsonl", examples_of(tenant, 14, start=2))
    caplog.clear()
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    for tenant in METHODS:
        assert f"{tenant}: training (data changed), starts from champion version 1" in caplog.text
        assert losses_of(root, tenant)[0] == pytest.approx(best[tenant], rel=1e-5), tenant
        manifest = read_manifest(root / "out/train" / tenant)
        assert manifest.made_from == {"warm_start": first[tenant].sha256}
        assert manifest.fingerprint != first[tenant].fingerprint
        assert min(losses_of(root, tenant)) <= best[tenant]


@pytest.mark.parametrize(("method", "at"), [("prefix-mlp", 3), ("lora", 2), ("full", 1)])
def test_a_resumed_warm_start_ends_in_the_same_file(make_root, set_params, stop_and_resume, method, at):
    values = {**WARM, **METHODS[method]}
    root = make_root(("alder",), train=values)
    assert register_all(root) == {"alder": "1"}
    state = (root / "out/train/alder/state/train.safetensors").read_bytes()
    set_params(root, train={**values, "seed": 1})
    raise_on_failures(train.run(Workspace(root)))
    whole = (root / "out/train/alder/prefix.safetensors").read_bytes()
    made_from = read_manifest(root / "out/train/alder").made_from
    assert set(made_from) == {"warm_start"}
    for name in ("prefix.safetensors", "manifest.json"):
        (root / "out/train/alder" / name).unlink()
    (root / "out/train/alder/state/train.safetensors").write_bytes(state)
    stop_and_resume(root, at)
    assert read_manifest(root / "out/train/alder").made_from == made_from
    assert (root / "out/train/alder/prefix.safetensors").read_bytes() == whole


UNFIT = {
    "length": ({}, {"prefix_length": 3}, "another train.prefix_length"),
    "mlp": ({"mlp_hidden": 8}, {"mlp_hidden": 4}, "another train.mlp_hidden"),
    "method": ({}, {"method": "lora"}, "another train.method"),
    "alpha": ({"method": "lora"}, {"lora_alpha": 4.0}, "another train.lora_alpha"),
    "targets": ({"method": "lora"}, {"lora_targets": ["c_proj"]}, "another train.lora_targets"),
    "share": ({"method": "adapter"}, {"adapter_share": 0.2}, "another train.adapter_share"),
    "layers": ({"method": "top-k"}, {"top_layers": 1}, "another train.top_layers"),
    "fits": ({}, {"top_layers": 1, "lora_rank": 3, "seed": 1}, None),
}
"""Tenant -> its train values before, the changed ones, and the difference that is named (None: the champion fits)."""


def test_a_champion_that_does_not_fit_is_not_started_from_and_the_difference_is_named(make_root, set_params, caplog):
    sections = {"train": {**WARM, "learning_rate": 0.01}}
    before = {tenant: {"train": values} for tenant, (values, _, _) in UNFIT.items()}
    root = make_root(tuple(UNFIT), **sections, tenants=before)
    assert register_all(root) == dict.fromkeys(UNFIT, "1")
    changed = {tenant: {"train": {**values, **changes}} for tenant, (values, changes, _) in UNFIT.items()}
    set_params(root, **sections, tenants=changed)
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    for tenant, (_, _, difference) in UNFIT.items():
        made_from = read_manifest(root / "out/train" / tenant).made_from
        if difference is None:
            assert set(made_from) == {"warm_start"}
        else:
            assert f"{tenant}: no warm start from champion version 1: it has {difference}" in caplog.text
            assert re.search(rf"{tenant}: training \(.*\), starts clean", caplog.text)
            assert made_from == {}
        assert generate(Workspace(root), tenant, ["thing: boat"])


def test_a_champion_of_the_full_base_starts_a_quantised_one_only_if_it_is_interchangeable(
    make_root, set_params, caplog
):
    root = make_root(("alder",), train=WARM)
    assert register_all(root) == {"alder": "1"}
    full = read_manifest(root / "out/train/alder")
    quantized = {"quantize": "bitsandbytes-int8"}
    set_params(root, train=WARM, base=quantized)
    assert plan(Workspace(root)).items[0].reason == "base changed"
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    assert "no warm start from champion version 1: wanted the base" in caplog.text
    manifest = read_manifest(root / "out/train/alder")
    assert manifest.base_digest != full.base_digest
    assert manifest.made_from == {}
    set_params(root, train={**WARM, "seed": 5}, base={**quantized, "interchangeable": [full.base_digest]})
    raise_on_failures(train.run(Workspace(root)))
    manifest = read_manifest(root / "out/train/alder")
    assert manifest.made_from == {"warm_start": full.sha256}
    assert manifest.base_digest != full.base_digest


def test_a_champion_of_another_base_or_with_damage_is_not_started_from(make_root, set_params, caplog):
    from transformers import GPT2LMHeadModel

    root = make_root(("alder",), train=WARM)
    assert register_all(root) == {"alder": "1"}
    model = GPT2LMHeadModel.from_pretrained(root / "base")
    model.transformer.wte.weight.data.mul_(1.5)
    model.save_pretrained(root / "base")
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    assert "no warm start from champion version 1: wanted the base" in caplog.text
    assert read_manifest(root / "out/train/alder").made_from == {}

    (stored,) = (root / "var/mlflow/artifacts").glob("**/prefix.safetensors")
    stored.write_bytes(stored.read_bytes()[:-1])
    shutil.rmtree(root / "var/champions", ignore_errors=True)
    set_params(root, train={**WARM, "seed": 5})
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    assert read_manifest(root / "out/train/alder").made_from == {}


def test_a_warm_start_on_a_shared_prefix(make_root, set_params, write_tenant, caplog, losses_of, prefixes_of):
    """Frozen: own slots continue with a new shared prefix. Joint: a new shared prefix means a clean start."""

    def with_alder(**values):
        return {"alder": {"train": {"shared": "task", "prefix_length": 3, "warm_start": True, **values}}}

    root = make_root(PAIR, train=TRAIN, tenants=with_alder(), gate={"non_inferiority": []})
    assert register_all(root) == {"alder": "1", "task": "1"}
    best = min(losses_of(root))
    champion = read_manifest(root / "out/train/alder").sha256
    set_params(root, train=TRAIN, tenants=with_alder(shared_training="joint"), gate={"non_inferiority": []})
    raise_on_failures(train.run(Workspace(root)))
    assert losses_of(root)[0] == pytest.approx(best, rel=1e-5)
    made_from = read_manifest(root / "out/train/alder").made_from
    assert made_from == {"shared": read_manifest(root / "out/train/task").sha256, "warm_start": champion}
    assert register_all(root) == {"alder": "2"}
    write_tenant(root / "data", "task", start=3)
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    assert "no warm start from champion version 2: it has another shared prefix" in caplog.text
    assert set(read_manifest(root / "out/train/alder").made_from) == {"shared"}
    set_params(root, train=TRAIN, tenants=with_alder(shared_training="frozen"), gate={"non_inferiority": []})
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    assert "it has another train.shared_training" in caplog.text
    found = prefixes_of(root, *PAIR)
    assert torch.equal(found["alder"][..., :2, :], found["task"])
    assert json.loads((root / "out/train/alder/manifest.json").read_text())["train"]["shared_training"] == "frozen"


def test_a_warm_start_with_another_number_of_shared_slots_starts_clean(make_root, set_params, caplog):
    on_task = {"alder": {"train": {"shared": "task", "prefix_length": 3, "warm_start": True}}}
    root = make_root(PAIR, train=TRAIN, tenants=on_task, gate={"non_inferiority": []})
    assert register_all(root) == {"alder": "1", "task": "1"}
    longer = {**on_task, "task": {"train": {"prefix_length": 4}}}
    set_params(root, train=TRAIN, tenants=longer, gate={"non_inferiority": []})
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    assert "alder: no warm start from champion version 1: it has another number of shared slots" in caplog.text
    assert read_manifest(root / "out/train/alder").prefix_length == 7


def test_a_champion_of_an_older_schema_is_not_compared(make_root, set_params, caplog):
    root = make_root(("alder",), train=TRAIN)
    assert register_all(root) == {"alder": "1"}
    (stored,) = (root / "var/mlflow/artifacts").glob("**/manifest.json")
    stored.write_text(json.dumps({**json.loads(stored.read_text()), "schema_version": 1}))
    shutil.rmtree(root / "var/champions", ignore_errors=True)
    set_params(root, train={**TRAIN, "seed": 5})
    with caplog.at_level("INFO", logger="prefixfleet"):
        assert register_all(root) == {"alder": "2"}
    assert "champion version 1 has another schema and is not compared" in caplog.text


def test_a_champion_cuts_sources_as_in_its_training(make_root, set_params):
    root = make_root(("alder",), train={**TRAIN, "max_source_tokens": 5})
    assert register_all(root) == {"alder": "1"}
    sources = ["thing: boat | colour: red | number: 1", "thing: door | colour: blue | number: 2"]
    before = generate(Workspace(root), "alder", sources)
    set_params(root, train=TRAIN)
    assert generate(Workspace(root), "alder", sources) == before
    assert before[0] == before[1]
