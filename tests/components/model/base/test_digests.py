"""Digests depend on the content of a model's files only, and on all of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.errors import BaseModelError
from components.model.base.digests import compute_model_digest, compute_tokenizer_digest

Save = Callable[[Any], Path]


def digests(folder: Path) -> tuple[str, str]:
    return compute_model_digest(folder), compute_tokenizer_digest(folder)


def test_the_folder_shards_formatting_and_library_version_do_not_matter(model: Any, save: Save, tmp_path: Path) -> None:
    folder, other = save(model), tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, other)
    (other / "model.safetensors").unlink()
    model.save_pretrained(other, max_shard_size="20KB")
    assert len(list(other.glob("*.safetensors"))) > 1
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "transformers_version": "9"}, indent=7))
    assert digests(other) == digests(folder)


def test_any_changed_weight_setting_or_token_changes_a_digest(model: Any, save: Save) -> None:
    folder = save(model)
    first = digests(folder)
    with torch.no_grad():
        list(model.parameters())[-1].view(-1)[0] += 1
    model.save_pretrained(folder)
    second = digests(folder)
    assert second[0] != first[0]
    assert second[1] == first[1]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "initializer_range": 0.1}))
    assert digests(folder)[0] != second[0]
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer.replace('"z"', '"Z"'))
    assert digests(folder)[1] != first[1]


def test_a_missing_shard_is_named_in_the_error(model: Any, save: Save) -> None:
    folder = save(model)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(BaseModelError, match=shard.name):
        compute_model_digest(folder)


def test_a_single_file_beside_an_index_is_the_one_that_is_digested_and_loaded(model: Any, save: Save) -> None:
    folder = save(model)
    single = digests(folder)
    content = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        list(model.parameters())[-1].view(-1)[0] += 1
    model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").write_bytes(content)
    assert digests(folder) == single


@pytest.mark.parametrize(
    "index",
    [
        "{",
        "[]",
        "{}",
        '{"weight_map": 3}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "../other"}}',
        "[" * 10**5,
    ],
)
def test_a_broken_index_is_refused(model: Any, save: Save, index: str) -> None:
    folder = save(model)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(BaseModelError, match="index"):
        compute_model_digest(folder)


@pytest.mark.parametrize("length", [0, 2**40], ids=["no header", "a header of terabytes"])
def test_a_sparse_file_is_refused_before_it_is_read(model: Any, save: Save, length: int) -> None:
    file = save(model) / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(length.to_bytes(8, "little"))
        stream.truncate(20 * 2**30)
    with pytest.raises(BaseModelError, match="safetensors"):
        compute_model_digest(file.parent)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"vocab_size": ' + "9" * 5000 + "}", "[" * 80 + "]" * 80])
def test_json_that_python_cannot_hold_is_refused(model: Any, save: Save, text: str) -> None:
    folder = save(model)
    for name, compute in (("config.json", compute_model_digest), ("tokenizer.json", compute_tokenizer_digest)):
        (folder / name).write_text(text)
        with pytest.raises(BaseModelError, match=name):
            compute(folder)
