"""The base to check is that of the call, or of the workspace with the workspace's values."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.config import BaseConfig
from components.errors import BaseModelError, ConfigError, WorkspaceError
from components.stages.base_check.check import check_base, choose_base, read_params

NOTHING: dict[str, str | None] = {"revision": None, "dtype": None}


def test_a_workspaces_values_hold_for_its_own_base(
    make_root: Callable[..., Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(base={"dtype": "bfloat16"})
    own = choose_base(root, None, NOTHING)
    assert (Path(own.path).is_dir(), own.dtype) == (True, "bfloat16")
    assert choose_base(root, own.path, NOTHING) == own
    (root / "models" / "x").mkdir(parents=True)
    assert choose_base(root, "models/x", NOTHING).path == str((root / "models" / "x").resolve())
    assert choose_base(root, own.path, {"dtype": "float32"}).dtype == "float32"
    monkeypatch.chdir(tiny_base.parent)
    assert choose_base(root, str(tmp_path), NOTHING) == BaseConfig(path=str(tmp_path))
    assert choose_base(root, "some/model", {"revision": "v1"}) == BaseConfig(path="some/model", revision="v1")


def test_without_a_workspace_the_defaults_hold(tiny_base: Path, tmp_path: Path) -> None:
    assert read_params(tmp_path).train.prefix_length == 8
    assert choose_base(tmp_path, str(tiny_base), NOTHING) == BaseConfig(path=str(tiny_base.resolve()))
    with pytest.raises(WorkspaceError):
        choose_base(tmp_path, None, NOTHING)
    with pytest.raises(ConfigError, match="the call: dtype = 'int8'"):
        choose_base(tmp_path, str(tiny_base), {"dtype": "int8"})


def test_a_base_is_described(tiny_base: Path, tmp_path: Path) -> None:
    checked = check_base(BaseConfig(path=str(tiny_base)))
    assert (checked.model_class, checked.config_class, checked.text_model_of) == ("GPT2LMHeadModel", "GPT2Config", "")
    assert (checked.slot_values, checked.slot_file_bytes, checked.slot_device_bytes) == (64, 256, 256)
    assert checked.weight_bytes >= 4 * checked.base.parameter_count
    half = check_base(BaseConfig(path=str(tiny_base), dtype="bfloat16"))
    assert (half.slot_file_bytes, half.slot_device_bytes) == (256, 128)
    with pytest.raises(BaseModelError, match="no such folder"):
        check_base(BaseConfig(path=str(tmp_path / "none")))
