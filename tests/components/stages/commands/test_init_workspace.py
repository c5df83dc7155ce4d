"""A new workspace is complete, keeps what was there, and says what is in its way."""

import subprocess

import pytest
import yaml
from processes import run_in

from components.config import load_params
from components.errors import BaseModelError, WorkspaceError
from components.stages.commands.init_workspace import make_workspace
from components.stages.preflight import check_ready


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.com")


def test_a_new_workspace_with_the_builtin_base_and_a_remote_is_complete_and_committed(tmp_path, caplog):
    made = make_workspace(tmp_path / "fleet", remote=str(tmp_path / "store"))
    root = made.root
    assert (made.base, made.has_remote, made.is_committed) == ("base", True, True)
    check_ready(root)
    assert caplog.messages == []
    params = load_params(root / "params.yaml")
    assert (params.base.path, params.data.push, params.gate.floors) == ("base", True, {})
    assert run_in(root, "git", "status", "--porcelain").stdout == ""
    assert str(tmp_path / "store") in run_in(root, "dvc", "remote", "list").stdout
    stages = run_in(root, "dvc", "stage", "list", "--name-only").stdout.split()
    assert stages == ["base", "train", "evaluate", "gate"]
    assert yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["base"]["deps"] == ["base"]
    with pytest.raises(WorkspaceError, match=r"without a workspace; got .*params.yaml; .*prefixfleet upgrade"):
        make_workspace(root)

    (root / "params.yaml").unlink()
    (root / "prefect.yaml").unlink()
    again = make_workspace(root)  # as after an interruption
    check_ready(again.root, takes_drops=False)
    assert (root / "prefect.yaml").is_file()


def test_a_base_elsewhere_is_named_by_its_whole_path_and_dvc_does_not_depend_on_a_copy(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    root = make_workspace(tmp_path / "fleet", base="model").root
    params = load_params(root / "params.yaml")
    assert (params.base.path, params.data.push) == (str(tmp_path / "model"), False)
    assert not (root / "base").exists()
    assert "deps" not in yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["base"]


@pytest.mark.parametrize("base", ["./nowhere", "/nowhere/model", "a b"])
def test_a_base_that_is_neither_a_model_nor_an_id_is_refused_before_anything_is_made(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BaseModelError, match="folder of a transformers model"):
        make_workspace(tmp_path / "fleet", base=base)
    assert not (tmp_path / "fleet").exists()


def test_files_of_the_same_names_are_not_overwritten(tmp_path):
    root = tmp_path / "fleet"
    (root / "base").mkdir(parents=True)
    (root / "README.md").write_text("mine")
    (root / "base" / "config.json").write_text("mine")
    with pytest.raises(WorkspaceError, match=r"base/config\.json, README\.md in .*fleet; name an empty folder"):
        make_workspace(root)
    assert sorted(path.name for path in root.iterdir()) == ["README.md", "base"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "fleet").write_text("")
    with pytest.raises(WorkspaceError, match="name another folder"):
        make_workspace(tmp_path / "fleet")


def test_a_folder_of_an_existing_repository_with_a_base_of_the_hub_is_left_to_its_owner_to_commit(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    made = make_workspace(tmp_path / "team" / "fleet", base="Qwen/Qwen2.5-0.5B")
    assert load_params(made.root / "params.yaml").base.path == "Qwen/Qwen2.5-0.5B"
    assert not made.is_committed
    assert not (made.root / ".git").exists()
    assert "base" in run_in(made.root, "dvc", "stage", "list", "--name-only").stdout
