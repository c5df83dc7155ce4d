"""The command `base convert`."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cli.main import app
from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import load_base


def test_the_command_in_the_error_converts_the_base(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a base"
    shutil.copytree(tiny_base, folder)
    model = load_base(BaseConfig(path=str(folder))).model
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError) as refused:
        load_base(BaseConfig(path=str(folder)))
    command = re.search(r"prefixfleet (base convert .*)", refused.value.fix)
    assert command is not None
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, shlex.split(command[1]))
    assert result.exit_code == 0, result.output
    converted = load_base(BaseConfig(path=f"{folder}-safetensors")).model.state_dict()
    assert all(torch.equal(converted[name], tensor) for name, tensor in model.state_dict().items())
