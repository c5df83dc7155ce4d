"""Folders without safetensors are refused with the command that converts pickles."""

from pathlib import Path

import pytest

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.model_folder import find_folder, require_safetensors


def test_a_folder_is_found_and_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_folder(BaseConfig(path=str(tmp_path))) == tmp_path.resolve()
    with pytest.raises(BaseModelError, match="no such folder"):
        find_folder(BaseConfig(path=str(tmp_path / "none")))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(BaseModelError, match="got a file; name the folder"):
        find_folder(BaseConfig(path=str(tmp_path / "model.safetensors")))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError, match=r"a base at no-owner/no-model; got .*the hub answered"):
        find_folder(BaseConfig(path="no-owner/no-model"))


def test_the_command_that_converts_names_the_base_as_the_user_does(tmp_path: Path) -> None:
    folder = tmp_path / "my base"
    folder.mkdir()
    local, remote = BaseConfig(path=str(folder)), BaseConfig(path="some/model", revision="v1")
    for file in ("training_args.bin", "pytorch_model.bin"):
        with pytest.raises(BaseModelError, match=r"no model\.safetensors"):
            require_safetensors(folder, local)
        (folder / file).touch()
    with pytest.raises(BaseModelError, match=f"prefixfleet base convert '{folder}' '{folder}-safetensors'"):
        require_safetensors(folder, local)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(BaseModelError, match="prefixfleet base convert some/model model-safetensors --revision v1"):
        require_safetensors(folder, remote)
    (folder / "model.safetensors").touch()
    require_safetensors(folder, local)
