import shutil
import subprocess
from pathlib import Path

import pytest

from components.data import dvc
from components.errors import WorkspaceError


@pytest.mark.slow
def test_a_version_is_added_pushed_and_pulled_into_a_fresh_clone(workspace: Path, tmp_path: Path) -> None:
    path = workspace / "data" / "a" / "train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("one")
    version = dvc.add_data(workspace)
    assert version.endswith(".dir")
    assert dvc.has_remote(workspace)
    dvc.push(workspace)

    subprocess.run(["git", "add", "data.dvc", ".gitignore"], cwd=workspace, check=True)
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "data"]
    subprocess.run(commit, cwd=workspace, check=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(workspace), str(clone)], check=True)
    dvc.pull(clone)
    assert (clone / "data" / "a" / "train.jsonl").read_text() == "one"
    assert dvc.is_clean(clone)
    (clone / "data" / "a" / "train.jsonl").write_text("two")
    assert not dvc.is_clean(clone)

    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(workspace / ".dvc" / "cache")
    shutil.rmtree(workspace / "data")
    with pytest.raises(WorkspaceError, match=r"`dvc pull` with the remote 'local' .* got .*; check remote 'local'"):
        dvc.pull(workspace)


def test_the_error_on_a_missing_remote_says_that_none_is_configured(workspace: Path) -> None:
    (workspace / "data").mkdir()
    (workspace / "data" / "x").touch()
    dvc.add_data(workspace)
    (workspace / ".dvc" / "config").write_text("")
    assert not dvc.has_remote(workspace)
    with pytest.raises(WorkspaceError, match="a DVC remote to push; got none configured"):
        dvc.push(workspace)


def test_a_folder_without_dvc_is_refused(tmp_path: Path) -> None:
    for call in (dvc.pull, dvc.push, dvc.add_data, dvc.commit, dvc.has_remote):
        with pytest.raises(WorkspaceError, match="a DVC workspace"):
            call(tmp_path)


def test_the_error_has_dvc_s_own_message(workspace: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"`dvc add data` .* got .*does not exist"):
        dvc.add_data(workspace)


def test_a_pull_does_not_replace_a_link_to_a_disk_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    with pytest.raises(WorkspaceError, match=r"no folder .*disk; mount or make it"):
        dvc.pull(tmp_path)
    assert (tmp_path / "data").is_symlink()
