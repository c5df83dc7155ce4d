import json
from pathlib import Path

import pytest
from prefixfleet_vllm.base_digest import compute_base_digest
from prefixfleet_vllm.errors import PluginError
from transformers import AutoModelForCausalLM

from components.model.base.digests import compute_model_digest


def test_both_compute_the_same_digest_of_one_file_and_of_several(tiny_base: Path, tmp_path: Path) -> None:
    digest = compute_model_digest(tiny_base)
    assert compute_base_digest(tiny_base) == digest
    AutoModelForCausalLM.from_pretrained(tiny_base).save_pretrained(tmp_path, max_shard_size="20kB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert compute_base_digest(tmp_path) == compute_model_digest(tmp_path)


def test_the_digest_depends_on_the_config_but_not_on_its_version(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tiny_base / "model.safetensors")
    config = json.loads((tiny_base / "config.json").read_text(encoding="utf-8"))
    for changes, same in (({"transformers_version": "0"}, True), ({"more": 1}, False)):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
        assert (compute_base_digest(tmp_path) == compute_base_digest(tiny_base)) is same


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b"\xff" * 20])
def test_a_folder_without_a_readable_base_is_refused(
    tiny_base: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((tiny_base / file).read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PluginError, match=str(tmp_path)):
        compute_base_digest(tmp_path)
