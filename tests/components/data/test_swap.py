"""The swap of data/ and data.dvc, by way of an intake with a fake of DVC."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fake_dvc import compute_digest, read_tree

from components.config import DataConfig
from components.data import swap
from components.data.intake import take_drops
from components.errors import WorkspaceError

LIMITS = DataConfig(max_rejects=0.5)


def test_recover_completes_a_swap_whose_rename_failed(fake_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Path, Path], Path] = Path.rename
    old = read_tree(fake_workspace / "data")

    def fail(self: Path, target: Path) -> Path:
        if self.name == "data.tmp":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(WorkspaceError, match="Permission denied"):
        take_drops(fake_workspace, LIMITS)
    monkeypatch.undo()
    swap.recover_swap(fake_workspace)
    assert set(read_tree(fake_workspace / "data")) == set(old)
    assert read_tree(fake_workspace / "data") != old
    assert len(read_tree(fake_workspace / "drops")) == 7


def test_the_pointer_keeps_its_other_fields(fake_workspace: Path) -> None:
    values = yaml.safe_load((fake_workspace / "data.dvc").read_text())
    values["desc"] = "tenants"
    values["outs"][0]["remote"] = "eu"
    (fake_workspace / "data.dvc").write_text(yaml.safe_dump(values))
    take_drops(fake_workspace, LIMITS)
    after = yaml.safe_load((fake_workspace / "data.dvc").read_text())
    assert (after["desc"], after["outs"][0]["remote"], after["outs"][0]["path"]) == ("tenants", "eu", "data")
    assert after["outs"][0]["md5"] == compute_digest(fake_workspace / "data")
