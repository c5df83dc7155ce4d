"""A tenant's prefix to PEFT and back, through the chain and the registry."""

import json
from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.data.digests import compute_file_digest
from components.errors import ArtifactError, RegistryError
from components.registry.peft.checkpoint import WEIGHTS_FILE
from components.stages import evaluate, gate, register
from components.stages.commands.generate import generate
from components.stages.commands.peft_exchange import IMPORTED_KEY, export_peft, import_peft
from components.stages.plan import plan
from components.stages.reports import status
from components.stages.workspace import Workspace

SOURCES = ["thing: boat | colour: red | number: 7", "thing: cup"]


def generate_with_peft(root: Path, folder: Path, beams: int = 1) -> list[str]:
    """Return PEFT's texts for the sources with a checkpoint, decoded with the parameters of the tests."""
    base = AutoModelForCausalLM.from_pretrained(root / "base").eval()
    model = peft.PeftModel.from_pretrained(base, str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(root / "base")
    texts = []
    for source in SOURCES:
        ids = torch.tensor([[*tokenizer(source)["input_ids"], tokenizer.eos_token_id]])
        options = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "pad_token_id": 0}
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
        texts.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return texts


def run_chain(root: Path, tenant: str = "alder") -> dict[str, str]:
    """Evaluate, gate, register and roll out, as after an import; return the new champions."""
    for stage in (evaluate, gate):
        assert [one.state for one in stage.run(Workspace(root), [tenant])] == ["done"]
    workspace = Workspace(root)
    versions, failures = register.register(workspace, plan(workspace, [tenant]).collect_fingerprints())
    assert failures == []
    return register.roll_out(workspace, versions, [])[0]


@pytest.mark.parametrize("projection", [False, True], ids=["values", "mlp"])
@pytest.mark.parametrize("beams", [1, 3])
def test_an_imported_prefix_gives_pefts_texts_and_can_be_exported_again(
    lively_root, save_peft, tmp_path, projection, beams
):
    root = lively_root(("alder",), evaluate={"num_beams": beams})
    checkpoint = save_peft(root, tmp_path / "theirs", projection=projection)
    import_peft(Workspace(root), "alder", checkpoint)
    assert plan(Workspace(root)).items == ()
    assert run_chain(root) == {"alder": "1"}
    (row,) = status.read_status(Workspace(root)).tenants
    assert (row.champion, row.state) == ("1", "healthy")
    texts = generate_with_peft(root, checkpoint, beams)
    assert generate(Workspace(root), "alder", SOURCES) == texts
    assert texts != generate_with_peft(root, save_peft(root, tmp_path / "another", seed=2), beams)

    description = export_peft(Workspace(root), "alder", tmp_path / "ours")
    assert description.startswith("alder, version 1: 2 slots, 128 values")
    assert generate_with_peft(root, tmp_path / "ours", beams) == texts
    config = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(root / "base")


def test_an_import_is_not_trained_again_until_something_changes(lively_root, save_peft, tmp_path, write_tenant):
    root = lively_root(("alder",))
    trained = root / "out/train/alder"
    (trained / "state").mkdir(parents=True)
    (trained / "training.json").write_text('{"seconds": 9}')
    (trained / "loss.csv").write_text("step,train_loss,validation_loss\n1,2.0,3.0\n")
    checkpoint = save_peft(root, tmp_path / "theirs")
    manifest = import_peft(Workspace(root), "alder", checkpoint)
    # Files of the replaced prefix are removed.
    assert sorted(path.name for path in trained.iterdir()) == [
        "loss.csv",
        "manifest.json",
        "prefix.safetensors",
    ]
    assert manifest.made_from == {IMPORTED_KEY: compute_file_digest(checkpoint / WEIGHTS_FILE)}
    assert run_chain(root) == {"alder": "1"}
    assert plan(Workspace(root)).items == ()
    assert import_peft(Workspace(root), "alder", checkpoint).sha256 == manifest.sha256
    write_tenant(root / "data", "alder", start=3)
    assert plan(Workspace(root)).sentence == "1 to train, 0 up to date: alder (data changed)"
    assert status.read_status(Workspace(root)).tenants[0].reason.startswith("data changed")


def test_tenants_that_share_an_imported_prefix_are_named(make_root, save_peft, tmp_path, caplog):
    root = make_root(("alder", "birch"), tenants={"birch": {"train": {"shared": "alder"}}})
    import_peft(Workspace(root), "alder", save_peft(root, tmp_path / "theirs"))
    assert "birch: still use the former prefix of alder" in caplog.text


def test_an_import_that_the_gate_rejects_gets_no_version(lively_root, save_peft, tmp_path):
    root = lively_root(("alder",), gate={"floors": {"bleu": 99.0}})
    import_peft(Workspace(root), "alder", save_peft(root, tmp_path / "theirs"))
    assert run_chain(root) == {}
    assert Workspace(root).registry.find_versions("alder") == []
    assert plan(Workspace(root)).items == ()
    assert "alder's prefix in" in export_peft(Workspace(root), "alder", tmp_path / "ours")


def test_an_export_is_of_the_champion_a_version_or_the_prefix_in_out(lively_root, save_peft, tmp_path):
    root = lively_root(("alder",))
    with pytest.raises(ArtifactError, match=r"none in .*out/train/alder"):
        export_peft(Workspace(root), "alder", tmp_path / "a")
    first, second = (save_peft(root, tmp_path / f"theirs{seed}", seed=seed) for seed in (1, 2))
    import_peft(Workspace(root), "alder", first)
    assert "alder's prefix in" in export_peft(Workspace(root), "alder", tmp_path / "a")
    assert generate_with_peft(root, tmp_path / "a") == generate_with_peft(root, first)
    assert run_chain(root) == {"alder": "1"}
    import_peft(Workspace(root), "alder", second)
    for number, trained, expected in ((None, False, first), ("1", False, first), (None, True, second)):
        export_peft(Workspace(root), "alder", tmp_path / "a", number, trained=trained)
        assert generate_with_peft(root, tmp_path / "a") == generate_with_peft(root, expected)
    with pytest.raises(RegistryError, match=r"version 7 of alder; got versions: 1"):
        export_peft(Workspace(root), "alder", tmp_path / "a", "7")
    Workspace(root).registry.delete_alias("alder", "champion")
    with pytest.raises(RegistryError, match=r"a champion of alder; got versions: 1; .*--version"):
        export_peft(Workspace(root), "alder", tmp_path / "a")
