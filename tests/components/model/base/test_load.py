"""Load bases from models written to disk, and refuse unsupported ones."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import RECENT
from tokenizer_kinds import make_tokenizer

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.digests import compute_model_digest, compute_tokenizer_digest
from components.model.base.load import Base, describe_base, load_base
from components.model.base.shapes import PrefixShape
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.initialization import make_text_prefix

Save = Callable[[Any], Path]


def load(folder: Path, dtype: Any = "float32") -> Base:
    return load_base(BaseConfig(path=str(folder), dtype=dtype), device="cpu")


def test_a_loaded_base_is_frozen_and_described(model: Any, save: Save) -> None:
    folder = save(model)
    base = load(folder)
    heads = {"gpt2": 4, "llama": 2}[model.config.model_type]
    assert (base.name, base.context, base.eos_id, base.pad_id) == ("tiny", 64, 0, 1)
    assert base.shape == PrefixShape(2, heads, 8)
    assert base.parameter_count == sum(parameter.numel() for parameter in model.parameters())
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    described = json.loads(json.dumps(describe_base(base)))
    assert described["digest"] == base.digest
    assert (described["layers"], described["kv_heads"], described["dtype"]) == (2, heads, "float32")
    ids = torch.arange(2, 12)[None]
    torch.testing.assert_close(base.model(input_ids=ids).logits, model(input_ids=ids).logits, rtol=0.0, atol=1e-5)
    with attach_prefixes(base.model, [make_text_prefix(base, "name", 4)]):
        assert base.model(input_ids=ids).logits.isfinite().all()


def test_a_context_of_a_million_tokens_is_kept(build_model: Callable[..., Any], save: Save) -> None:
    assert load(save(build_model("llama", max_position_embeddings=1_010_000))).context == 1_010_000


@pytest.mark.parametrize("context", [0, -5])
def test_a_context_without_tokens_is_refused(context: int, build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("llama"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
    with pytest.raises(BaseModelError, match=r"config\.json|a forward fails"):
        load(folder)


def test_a_base_has_the_digests_of_its_files_and_the_dtype_of_its_config(model: Any, save: Save) -> None:
    folder = save(model)
    base = load(folder, "bfloat16")
    assert (base.digest, base.tokenizer_digest) == (compute_model_digest(folder), compute_tokenizer_digest(folder))
    assert base.model.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_a_tokenizer_that_marks_the_start_of_a_text_has_a_digest_of_its_own(
    kind: str, build_model: Callable[..., Any], save: Save
) -> None:
    """Earlier releases encoded its texts otherwise, so that prefixes trained on those ids must not be used."""
    tokenizer = make_tokenizer("sentencepiece-bpe")
    pair = {"decoder_start_token_id": 0} if kind == "bart" else {}
    folder = save(build_model(kind, vocab_size=len(tokenizer), **pair))
    tokenizer.save_pretrained(folder)
    base = load(folder)
    assert base.tokenizer_files_digest == compute_tokenizer_digest(folder)
    assert (base.tokenizer_digest == base.tokenizer_files_digest) == (kind == "bart")
    assert base.text_codec.decode(base.text_codec.encode_sources(["the cat"])[0]) == "the cat"


def test_missing_folders_and_files_are_named_in_the_error(model: Any, save: Save, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="no such folder"):
        load(tmp_path / "none")
    folder = save(model)
    for name in ("model.safetensors", "config.json"):
        shutil.move(folder / name, tmp_path / name)
        with pytest.raises(BaseModelError, match=name):
            load(folder)
        shutil.move(tmp_path / name, folder / name)
    for name, words in (
        ("tokenizer.json", "the tokenizer of the base; got none that can be read"),
        ("tokenizer_config.json", "a tokenizer in the model's folder; got none"),
    ):
        (folder / name).unlink()
        with pytest.raises(BaseModelError, match=words):
            load(folder)


def test_a_hub_model_that_cannot_be_loaded_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError, match="no-owner/no-model"):
        load_base(BaseConfig(path="no-owner/no-model"))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64, None], ids=["empty", "noise", "truncated"])
def test_damaged_weights_are_refused(model: Any, save: Save, damage: bytes | None) -> None:
    file = save(model) / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-100] if damage is None else damage)
    with pytest.raises(BaseModelError, match="safetensors"):
        load(file.parent)


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_a_base_in_several_files_is_that_of_one_file(kind: str, build_model: Callable[..., Any], save: Save) -> None:
    """Both have tied weights, which are stored once."""
    model = build_model(kind)
    folder = save(model)
    whole = load(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    base = load(folder)
    assert (base.digest, base.parameter_count) == (whole.digest, whole.parameter_count)
    own = model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in base.model.state_dict().items())
    assert base.model.get_output_embeddings().weight is base.model.get_input_embeddings().weight


def test_broken_configuration_is_refused(model: Any, save: Save) -> None:
    folder = save(model)
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(BaseModelError, match=r"config\.json"):
        load(folder)
    (folder / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(BaseModelError, match="no-such-model"):
        load(folder)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_an_encoder_decoder_model_is_a_base(kind: str, build_model: Callable[..., Any], save: Save) -> None:
    model = build_model(kind)
    base = load(save(model))
    assert base.is_encoder_decoder
    assert base.decoder_start_id == 1
    assert base.context == {"bart": 64, "t5": 512}[kind]
    assert list(base.shape.sites) == ["encoder.self", "decoder.self", "decoder.cross"]
    described = json.loads(json.dumps(describe_base(base)))
    assert described["encoder_decoder"] is True
    ids = torch.arange(2, 12)[None]
    own, theirs = (one(input_ids=ids, decoder_input_ids=ids).logits for one in (base.model, model))
    torch.testing.assert_close(own, theirs, rtol=0.0, atol=1e-5)


LATENT = RECENT["deepseek_v3"].sizes
INDEXER = {"index_topk": 4, "index_n_heads": 2, "index_head_dim": 8}
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}

SPARSE = {"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 2}
SWITCH = {**SPARSE, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1}


@pytest.mark.parametrize(
    ("config", "sizes", "message"),
    [
        ("BloomConfig", {"hidden_size": 16, "n_layer": 2, "n_head": 2}, "BloomForCausalLM"),
        ("MptConfig", {"d_model": 16, "n_heads": 2, "n_layers": 2}, "MptForCausalLM"),
        ("GPTJConfig", {"n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4}, "GPTJForCausalLM: its attention"),
        ("FalconConfig", SMALL, "FalconForCausalLM: its attention cannot be replaced"),
        ("MambaConfig", {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}, "MambaForCausalLM: 0 of"),
        ("GlmMoeDsaConfig", {**LATENT, **INDEXER}, "GlmMoeDsaForCausalLM: attention that takes indices beside keys"),
        ("BartDecoderOnly", {}, r"BartForCausalLM: .*position_ids"),
        (
            "RobertaConfig",
            {**SMALL, "is_decoder": True, "initializer_range": 0.2},
            "RobertaForCausalLM: its own positions",
        ),
        (
            "SwitchTransformersConfig",
            SWITCH,
            "SwitchTransformersForConditionalGeneration: a forward fails with ValueError",
        ),
    ],
)
def test_a_model_that_prefixes_cannot_be_attached_to_is_named_in_the_error(
    config: str, sizes: dict[str, Any], message: str, save: Save, build_model: Callable[..., Any]
) -> None:
    import transformers as hf

    if config == "BartDecoderOnly":
        model = hf.BartForCausalLM(build_model("bart").config)
    else:
        common = {
            "vocab_size": 67,
            "max_position_embeddings": 64,
            "eos_token_id": 0,
            "bos_token_id": 0,
            "pad_token_id": 1,
        }
        model_config = getattr(hf, config)(**{**common, **sizes})
        auto = hf.AutoModelForSeq2SeqLM if model_config.is_encoder_decoder else hf.AutoModelForCausalLM
        model = auto.from_config(model_config)
    with pytest.raises(BaseModelError, match=message):
        load(save(model))


def test_a_tokenizer_without_an_end_token_is_refused(model: Any, save: Save) -> None:
    folder = save(model)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(BaseModelError, match="end-of-text"):
        load(folder)


def test_the_experiment_base_loads() -> None:
    models = os.environ.get("PREFIXFLEET_TEST_MODELS")
    if not models:
        pytest.skip("PREFIXFLEET_TEST_MODELS names no folder of models")
    base = load(Path(models) / "d2t-base")
    assert (base.shape, base.context, base.parameter_count) == (PrefixShape(4, 4, 64), 512, 4_339_200)
