"""Exports and imports that are refused, and what the error says to do."""

import json
from pathlib import Path

import pytest
import torch

from components.config import TrainConfig
from components.errors import ArtifactError, BaseModelError, ConfigError, DataError
from components.model.delta import make_delta_from_tensors
from components.model.prefix.prefix import KINDS
from components.model.trainable_delta import TrainableDelta
from components.registry.artifact import save_artifact
from components.stages.base import read_base_facts
from components.stages.commands.peft_exchange import export_peft, import_peft
from components.stages.workspace import Workspace


def test_a_checkpoint_of_another_base_is_refused_or_warned_about(lively_root, save_peft, write_base, tmp_path, caplog):
    root = lively_root(("alder",))
    checkpoint = save_peft(root, tmp_path / "theirs")
    import_peft(Workspace(root), "alder", checkpoint)
    assert "WARNING" not in caplog.text
    export_peft(Workspace(root), "alder", tmp_path / "ours")
    write_base(root, seed=3)
    # PEFT's checkpoint names no digest, and the shapes are equal; our own export names the digest.
    import_peft(Workspace(root), "alder", checkpoint)
    with pytest.raises(BaseModelError, match="base digest"):
        import_peft(Workspace(root), "alder", tmp_path / "ours")
    rename(checkpoint, "some-lab/other-model")
    import_peft(Workspace(root), "alder", checkpoint)
    assert "names the base some-lab/other-model, the base here is base" in caplog.text
    export_peft(Workspace(root), "alder", tmp_path / "b")
    write_base(root, n_layer=3)
    with pytest.raises(BaseModelError, match=r"3 layers x 2 key/value heads x 8; got one of 2 layers.*other-model"):
        import_peft(Workspace(root), "alder", checkpoint)
    export_peft(Workspace(root), "alder", tmp_path / "b")
    assert "not on the present base" in caplog.text
    assert json.loads((tmp_path / "b" / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"


def rename(checkpoint: Path, base_name: str) -> None:
    path = checkpoint / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": base_name}))


def test_a_checkpoint_that_does_not_match_the_parameters_is_refused(
    lively_root, save_peft, set_params, tmp_path, write_lines
):
    root = lively_root(("alder",))
    longer = save_peft(root, tmp_path / "theirs", length=5)
    with pytest.raises(ConfigError, match=r"2 slots.*got 5 in.*set tenants.alder.train.prefix_length: 5"):
        import_peft(Workspace(root), "alder", longer)
    assert not (root / "out/train").exists()
    override = root / "overrides/alder.yaml"
    override.parent.mkdir()
    override.write_text("train: {prefix_length: 2}\n")
    with pytest.raises(ConfigError, match=r"2 slots.*got 5 in.*set train.prefix_length: 5 in .*overrides/alder.yaml"):
        import_peft(Workspace(root), "alder", longer)
    override.unlink()
    set_params(root, tenants={"alder": {"train": {"prefix_length": 5}}})
    assert import_peft(Workspace(root), "alder", longer).prefix_length == 5
    with pytest.raises(BaseModelError, match="shorter than the context of base, 160 tokens"):
        import_peft(Workspace(root), "alder", save_peft(root, tmp_path / "long", length=160))
    with pytest.raises(DataError, match="'birch'"):
        import_peft(Workspace(root), "birch", longer)
    write_lines(root / "drops/alder/train.jsonl", [{"source": "a", "references": ["b"]}])
    with pytest.raises(DataError, match="prefixfleet data take --tenant alder"):
        import_peft(Workspace(root), "alder", longer)


@pytest.mark.parametrize(
    ("train", "got"),
    [({"method": "embedding"}, "got method embedding"), ({"shared": "birch"}, "on the slots of birch")],
)
def test_a_tenant_of_another_method_takes_no_checkpoint(make_root, save_peft, tmp_path, train, got):
    root = make_root(("alder", "birch"), tenants={"alder": {"train": train}})
    with pytest.raises(ConfigError, match=rf"{got}.*set tenants.alder.train.method: prefix"):
        import_peft(Workspace(root), "alder", save_peft(root, tmp_path / "theirs"))


def keys_and_values(*sites: str) -> dict[str, torch.Tensor]:
    return {f"{site}.{layer}.{kind}": torch.ones(2, 2, 8) for site in sites for layer in (0, 1) for kind in KINDS}


@pytest.mark.parametrize(
    ("method", "tensors", "reason"),
    [
        ("infix", keys_and_values("decoder.infix"), "between source and target"),
        ("embedding", {"embedding.prompt": torch.ones(2, 16)}, "a soft prompt"),
        ("prefix", keys_and_values("encoder.self", "decoder.self", "decoder.cross"), "decoder.cross, encoder.self"),
        ("prefix+adapter", keys_and_values("decoder.self"), "changes the base's weights"),
    ],
)
def test_a_prefix_that_pefts_format_cannot_hold_is_refused(make_root, tmp_path, method, tensors, reason):
    root = make_root(("alder",))
    workspace = Workspace(root)
    train = TrainConfig(method=method, prefix_length=2)
    if method == "prefix+adapter":
        delta = TrainableDelta(workspace.base, train, "boat lamp", None, ()).collapse()
    else:
        delta = make_delta_from_tensors(method, tensors, train)
    base = read_base_facts(workspace)
    save_artifact(
        workspace.get_output_folder("train", "alder"),
        delta,
        tenant="alder",
        base_name=base["name"],
        base_digest=base["digest"],
        tokenizer_digest=base["tokenizer_digest"],
        dataset_version="a" * 32,
        data_digest="b" * 64,
        train=train.model_dump(mode="json"),
        fingerprint="c" * 64,
        method=method,
    )
    with pytest.raises(ArtifactError, match=reason):
        export_peft(workspace, "alder", tmp_path / "ours", trained=True)
    assert not (tmp_path / "ours").exists()
