"""A tokenizer whose ids the model does not know is refused when the base is loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import Base, load_base

Save = Callable[[Any], Path]


def load(folder: Path) -> Base:
    return load_base(BaseConfig(path=str(folder)), device="cpu")


def add_tokens(folder: Path, count: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"Blue{number}" for number in range(count)])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "t5"])
def test_added_tokens_without_rows_are_refused_with_the_way_to_add_rows(
    kind: str, build_model: Callable[..., Any], save: Save
) -> None:
    folder = save(build_model(kind))
    add_tokens(folder, 67 - 28)
    assert load(folder).is_encoder_decoder == (kind in ("bart", "t5"))
    add_tokens(folder, 67 - 28 + 1)
    with pytest.raises(BaseModelError, match=r"below 67.*1 tokens outside, first 'Blue39' with id 67.*\(68\)"):
        load(folder)


def test_a_resized_model_is_accepted(build_model: Callable[..., Any], save: Save) -> None:
    model = build_model("gpt2")
    model.resize_token_embeddings(68)
    folder = save(model)
    add_tokens(folder, 40)
    assert load(folder).parameter_count > 0


@pytest.mark.parametrize("name", ["pad_token", "bos_token", "unk_token"])
def test_a_special_token_without_a_row_is_refused(name: str, build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("gpt2", vocab_size=28))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({name: "<new>"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(BaseModelError, match="'<new>' with id 28"):
        load(folder)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("gpt2", {"eos_token_id": [0, 67]}),
        ("gpt2", {"pad_token_id": 50256}),
        ("gpt2", {"forced_eos_token_id": [67]}),
        ("gpt2", {"forced_eos_token_id": "0"}),
        ("gpt2", {"eos_token_id": [0, 1.5]}),
        ("bart", {"decoder_start_token_id": 67}),
        ("bart", {"decoder_start_token_id": -1}),
        ("mbart", {"forced_bos_token_id": 250004}),
    ],
    ids=str,
)
def test_ids_of_the_generation_config_are_checked(
    kind: str, values: dict[str, Any], build_model: Callable[..., Any], save: Save
) -> None:
    folder = save(build_model(kind))
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    with pytest.raises(BaseModelError, match=rf"below 67.*{next(iter(values))}.*generation_config\.json"):
        load(folder)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 10**5])
def test_a_broken_generation_config_is_refused(text: str, build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("bart"))
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(BaseModelError, match=r"generation_config\.json"):
        load(folder)
    (folder / "generation_config.json").unlink()
    assert load(folder).decoder_start_id == 1


def test_no_padding_token_as_minus_one_is_accepted(build_model: Callable[..., Any], save: Save) -> None:
    folder = save(build_model("llama"))
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token_id": -1}))
    assert load(folder).pad_id == 1
