"""A tenant's prefix to PEFT and back, through the chain and the registry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from components.config import TrainConfig
from components.data.digests import compute_file_digest
from components.errors import ArtifactError, BaseModelError, ConfigError, DataError, RegistryError
from components.model.delta import make_delta_from_tensors
from components.model.prefix.prefix import KINDS
from components.model.trainable_delta import TrainableDelta
from components.registry.artifact import save_artifact
from components.registry.peft.checkpoint import WEIGHTS_FILE
from components.stages import evaluate, gate, register
from components.stages.base import read_base_facts
from components.stages.commands.generate import generate
from components.stages.commands.peft_exchange import IMPORTED_KEY, export_peft, import_peft
from components.stages.plan import plan
from components.stages.reports import status
from components.stages.workspace import Workspace

LENGTH = 2
SOURCES = ["thing: boat | colour: red | number: 7", "thing: cup"]


@pytest.fixture
def lively_root(make_root: Callable[..., Path]) -> Callable[..., Path]:
    """`make_root` with a base of larger weights, so that two prefixes make it say two things."""

    def make(tenants: tuple[str, ...], **sections: dict[str, Any]) -> Path:
        root = make_root(tenants, **sections)
        write_base(root)
        return root

    return make


def write_base(root: Path, seed: int = 0, **sizes: int) -> None:
    torch.manual_seed(seed)
    config = GPT2Config.from_pretrained(root / "base", initializer_range=0.5, **sizes)
    GPT2LMHeadModel(config).save_pretrained(root / "base")


def loaded(root: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(root / "base").eval()


def save_peft(root: Path, folder: Path, *, projection: bool = False, length: int = LENGTH, seed: int = 1) -> Path:
    """A checkpoint of PEFT's with random weights, as its own save_pretrained leaves it."""
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=length,
        prefix_projection=projection,
        encoder_hidden_size=8 if projection else None,
    )
    model = peft.get_peft_model(loaded(root), config)
    torch.manual_seed(seed)
    for weight in model.prompt_encoder.parameters():
        torch.nn.init.normal_(weight, std=2.0)
    model.save_pretrained(folder)
    return folder


def said(root: Path, folder: Path, beams: int = 1) -> list[str]:
    """What PEFT says to the sources with a checkpoint, decoded as the tiny parameters say."""
    model = peft.PeftModel.from_pretrained(loaded(root), str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(root / "base")
    texts = []
    for source in SOURCES:
        ids = torch.tensor([[*tokenizer(source)["input_ids"], tokenizer.eos_token_id]])
        how = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "pad_token_id": 0}
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)
        texts.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return texts


def chain(root: Path, tenant: str = "alder") -> dict[str, str]:
    """What follows an import: evaluate, gate, register, roll out."""
    for stage in (evaluate, gate):
        assert [one.state for one in stage.run(Workspace(root), [tenant])] == ["done"]
    place = Workspace(root)
    versions, troubles = register.register(place, plan(place, [tenant]).collect_fingerprints())
    assert troubles == []
    return register.roll_out(place, versions, [])[0]


@pytest.mark.parametrize("projection", [False, True], ids=["values", "mlp"])
@pytest.mark.parametrize("beams", [1, 3])
def test_an_imported_prefix_says_what_peft_says_and_comes_back_out(lively_root, tmp_path, projection, beams):
    root = lively_root(("alder",), evaluate={"num_beams": beams})
    checkpoint = save_peft(root, tmp_path / "theirs", projection=projection)
    import_peft(Workspace(root), "alder", checkpoint)
    assert plan(Workspace(root)).items == ()
    assert chain(root) == {"alder": "1"}
    (row,) = status.read_status(Workspace(root))
    assert (row.champion, row.stale) == ("1", "")
    texts = said(root, checkpoint, beams)
    assert generate(Workspace(root), "alder", SOURCES) == texts
    assert texts != said(root, save_peft(root, tmp_path / "another", seed=2), beams)

    told = export_peft(Workspace(root), "alder", tmp_path / "ours")
    assert told.startswith("alder, version 1: 2 slots, 128 values")
    assert said(root, tmp_path / "ours", beams) == texts
    config = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(root / "base")


def test_retraining_leaves_an_import_alone_until_something_changes(lively_root, tmp_path, write_tenant):
    root = lively_root(("alder",))
    trained = root / "out/train/alder"
    (trained / "state").mkdir(parents=True)
    (trained / "training.json").write_text('{"seconds": 9}')
    (trained / "loss.csv").write_text("step,train_loss,validation_loss\n1,2.0,3.0\n")
    checkpoint = save_peft(root, tmp_path / "theirs")
    manifest = import_peft(Workspace(root), "alder", checkpoint)
    # Nothing of the prefix that lay there before is taken for this one's.
    assert sorted(path.name for path in trained.iterdir()) == [
        "loss.csv",
        "manifest.json",
        "prefix.safetensors",
    ]
    assert manifest.made_from == {IMPORTED_KEY: compute_file_digest(checkpoint / WEIGHTS_FILE)}
    assert chain(root) == {"alder": "1"}
    assert plan(Workspace(root)).items == ()
    assert import_peft(Workspace(root), "alder", checkpoint).sha256 == manifest.sha256
    write_tenant(root / "data", "alder", start=3)
    assert plan(Workspace(root)).sentence == "1 to train, 0 stand: alder (data changed)"
    assert status.read_status(Workspace(root))[0].stale == "data changed"


def test_who_stands_on_an_imported_prefix_is_named(make_root, tmp_path, caplog):
    root = make_root(("alder", "birch"), tenants={"birch": {"train": {"shared": "alder"}}})
    import_peft(Workspace(root), "alder", save_peft(root, tmp_path / "theirs"))
    assert "birch stand on alder's former slots" in caplog.text


def test_an_import_that_the_gate_rejects_stays_out_of_the_registry(lively_root, tmp_path):
    root = lively_root(("alder",), gate={"floors": {"bleu": 99.0}})
    import_peft(Workspace(root), "alder", save_peft(root, tmp_path / "theirs"))
    assert chain(root) == {}
    assert Workspace(root).registry.find_versions("alder") == []
    assert plan(Workspace(root)).items == ()
    assert "alder's prefix in" in export_peft(Workspace(root), "alder", tmp_path / "ours")


def test_an_export_takes_the_champion_a_version_or_what_lies_in_out(lively_root, tmp_path):
    root = lively_root(("alder",))
    with pytest.raises(ArtifactError, match=r"none in .*out/train/alder"):
        export_peft(Workspace(root), "alder", tmp_path / "a")
    first, second = (save_peft(root, tmp_path / f"theirs{seed}", seed=seed) for seed in (1, 2))
    import_peft(Workspace(root), "alder", first)
    assert "alder's prefix in" in export_peft(Workspace(root), "alder", tmp_path / "a")
    assert said(root, tmp_path / "a") == said(root, first)
    assert chain(root) == {"alder": "1"}
    import_peft(Workspace(root), "alder", second)
    for number, trained, expected in ((None, False, first), ("1", False, first), (None, True, second)):
        export_peft(Workspace(root), "alder", tmp_path / "a", number, trained=trained)
        assert said(root, tmp_path / "a") == said(root, expected)
    with pytest.raises(RegistryError, match=r"version 7 of alder; got versions: 1"):
        export_peft(Workspace(root), "alder", tmp_path / "a", "7")
    Workspace(root).registry.delete_alias("alder", "champion")
    with pytest.raises(RegistryError, match=r"a champion of alder; got versions: 1; .*--version"):
        export_peft(Workspace(root), "alder", tmp_path / "a")


def test_another_base_is_told(lively_root, tmp_path, caplog):
    root = lively_root(("alder",))
    checkpoint = save_peft(root, tmp_path / "theirs")
    import_peft(Workspace(root), "alder", checkpoint)
    assert "WARNING" not in caplog.text
    export_peft(Workspace(root), "alder", tmp_path / "ours")
    write_base(root, seed=3)
    # PEFT names no digest, and the shapes are the same; our own export does name it.
    import_peft(Workspace(root), "alder", checkpoint)
    with pytest.raises(BaseModelError, match="base digest"):
        import_peft(Workspace(root), "alder", tmp_path / "ours")
    rename(checkpoint, "some-lab/other-model")
    import_peft(Workspace(root), "alder", checkpoint)
    assert "it was trained on some-lab/other-model, the base here is base" in caplog.text
    export_peft(Workspace(root), "alder", tmp_path / "b")
    write_base(root, n_layer=3)
    with pytest.raises(BaseModelError, match=r"3 layers x 2 key/value heads x 8; got one of 2 layers.*other-model"):
        import_peft(Workspace(root), "alder", checkpoint)
    export_peft(Workspace(root), "alder", tmp_path / "b")
    assert "not on today's base" in caplog.text
    assert json.loads((tmp_path / "b" / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"


def rename(checkpoint: Path, base_name: str) -> None:
    path = checkpoint / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": base_name}))


def test_what_the_parameters_do_not_ask_for_is_refused_with_what_to_set(lively_root, set_params, tmp_path, write_lines):
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
    ("train", "told"),
    [({"method": "embedding"}, "got method embedding"), ({"shared": "birch"}, "on the slots of birch")],
)
def test_a_tenant_of_another_method_gets_no_checkpoint(make_root, set_params, tmp_path, train, told):
    root = make_root(("alder", "birch"), tenants={"alder": {"train": train}})
    with pytest.raises(ConfigError, match=rf"{told}.*set tenants.alder.train.method: prefix"):
        import_peft(Workspace(root), "alder", save_peft(root, tmp_path / "theirs"))


def keys_and_values(*sites: str) -> dict[str, torch.Tensor]:
    return {f"{site}.{layer}.{kind}": torch.ones(2, 2, 8) for site in sites for layer in (0, 1) for kind in KINDS}


@pytest.mark.parametrize(
    ("method", "tensors", "told"),
    [
        ("infix", keys_and_values("decoder.infix"), "between source and target"),
        ("embedding", {"embedding.prompt": torch.ones(2, 16)}, "a soft prompt"),
        ("prefix", keys_and_values("encoder.self", "decoder.self", "decoder.cross"), "decoder.cross, encoder.self"),
        ("prefix+adapter", keys_and_values("decoder.self"), "changes the base's weights"),
    ],
)
def test_what_peft_has_no_place_for_is_refused_with_the_reason(make_root, tmp_path, method, tensors, told):
    root = make_root(("alder",))
    place = Workspace(root)
    train = TrainConfig(method=method, prefix_length=2)
    if method == "prefix+adapter":
        delta = TrainableDelta(place.base, train, "boat lamp", None, ()).collapse()
    else:
        delta = make_delta_from_tensors(method, tensors, train)
    base = read_base_facts(place)
    save_artifact(
        place.get_output_folder("train", "alder"),
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
    with pytest.raises(ArtifactError, match=told):
        export_peft(place, "alder", tmp_path / "ours", trained=True)
    assert not (tmp_path / "ours").exists()
