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
