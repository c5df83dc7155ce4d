"""Every method, each as a tenant of one workspace: train, evaluate, gate, register, generate."""

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from components.registry.artifact import load_artifact
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE, read_manifest
from components.stages import evaluate, gate, register, train
from components.stages.commands.generate import generate
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.reports import results_table
from components.stages.reports.status import read_status
from components.stages.stamps import read_json
from components.stages.workspace import Workspace

METHODS = {
    "prefix": {"mlp_hidden": 8},
    "infix": {},
    "embedding": {},
    "full": {"learning_rate": 0.01},
    "top-k": {"learning_rate": 0.01, "top_layers": 1},
    "adapter": {"adapter_size": 2},
    "lora": {"lora_rank": 2},
    "in-context": {"demonstrations": 1},
    "prefix+adapter": {"adapter_size": 2},
    "prefix+lora": {"lora_rank": 2},
}
TEXTS = ["thing: boat | colour: red | number: 7", "thing: cup"]


def tenant_of(method):
    return method.replace("+", "-and-")


def write_pair_base(folder):
    """An encoder-decoder instead of the tiny base, with its tokenizer."""
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    layers = {f"{stack}_{name}": 2 for stack in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    config = BartConfig(
        vocab_size=257,
        max_position_embeddings=160,
        d_model=16,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
        init_std=0.3,
        **layers,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_every_method_goes_through_all_stages(make_root, kind, monkeypatch):
    methods = [name for name in METHODS if kind == "gpt2" or name not in ("infix", "embedding")]
    tenants = sorted(map(tenant_of, methods))
    overrides = {tenant_of(name): {"train": {"method": name, **METHODS[name]}} for name in methods}
    root = make_root(tenants, train={"learning_rate": 0.1}, evaluate={"batch_size": 3}, tenants=overrides)
    if kind == "bart":
        write_pair_base(root / "base")
    workspace = Workspace(root)
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(Workspace(root)))
    versions, failures = register.register(workspace, plan(workspace).collect_fingerprints())
    assert failures == []
    assert register.roll_out(workspace, versions, []) == (dict.fromkeys(tenants, "1"), [])

    rows = {row.tenant: row for row in results_table.read_results(workspace)}
    base_parameters = read_json(root / "out/base/base.json")["parameters"]
    assert base_parameters == sum(one.numel() for one in workspace.base.model.parameters())
    heads, cells = results_table.make_table(list(rows.values()))
    assert heads[:2] == ("tenant", "method")
    client = MlflowClient(tracking_uri=workspace.registry.uri, registry_uri=workspace.registry.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.registry.uri)
    texts = {}
    for method in methods:
        tenant = tenant_of(method)
        folder, row = root / "out/train" / tenant, rows[tenant]
        delta, manifest = load_artifact(folder, workspace.base)
        assert (row.method, manifest.method, manifest.train["method"]) == (method, method, method)
        trained = sum(one.numel() for one in delta.tensors.values() if one.is_floating_point())
        assert (row.parameters, row.parameter_share) == (trained, trained / base_parameters)
        assert row.artifact_bytes == sum((folder / name).stat().st_size for name in (TENSORS_FILE, MANIFEST_FILE))
        (cell,) = [line for line in cells if line[0] == tenant]
        assert cell[1] == method
        assert cell[heads.index("parameters")] == f"{trained:,} ({trained / base_parameters:.2%})"
        assert cell[heads.index("size")] == f"{row.artifact_bytes / 1024:.0f} KiB"
        assert (row.verdict, row.version, row.alias) == ("accepted", "1", "champion")

        version = client.get_model_version_by_alias(f"prefix-{tenant}", "champion")
        assert version.tags["method"] == method
        assert client.get_run(version.run_id).data.params["train.method"] == method
        texts[method] = generate(workspace, tenant, TEXTS)
        loaded = mlflow.pyfunc.load_model(f"models:/prefix-{tenant}@champion")
        assert loaded.predict(TEXTS) == texts[method]
    assert rows["full"].parameters == base_parameters
    assert rows["in-context"].parameters == 0
    assert len({tuple(written) for written in texts.values()}) > 2
    assert all((row.champion, row.state) == ("1", "healthy") for row in read_status(workspace).tenants)
    again = [one.state for stage in (train, evaluate, gate) for one in stage.run(Workspace(root))]
    assert set(again) == {"skipped"}


def test_a_changed_method_trains_again_without_resuming(make_root, set_params, caplog):
    root = make_root(("alder",))
    raise_on_failures(train.run(Workspace(root)))
    set_params(root, train={"method": "lora", "lora_rank": 2})
    assert plan(Workspace(root)).items[0].reason == "train.method, train.lora_rank changed"
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root)))
    assert "the earlier state is of another run" in caplog.text
    assert read_manifest(root / "out/train/alder").method == "lora"


def test_an_infix_on_an_encoder_decoder_is_refused_before_training(make_root):
    root = make_root(("alder", "birch"), tenants={"alder": {"train": {"method": "infix"}}})
    write_pair_base(root / "base")
    outcomes = {one.tenant: one for one in train.run(Workspace(root))}
    assert outcomes["birch"].state == "done"
    assert outcomes["alder"].state == "failed"
    assert "wanted a decoder-only base for an infix" in outcomes["alder"].detail
    assert not (root / "out/train/alder").exists()
