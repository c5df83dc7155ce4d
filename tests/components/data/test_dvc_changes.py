"""Versions made from changed tenants alone equal those of DVC's commands, with the real DVC."""

import shutil
from pathlib import Path

import pytest
import yaml

from components.data import dvc
from components.data.digests import read_dataset_version, read_pointer_output
from components.data.dvc_changes import add_changes, push_changes
from components.data.intake import create_version
from components.data.swap import stage_others, stage_tenants

STAGED, POINTER = "data.tmp", "data.tmp.dvc"


def write(workspace: Path, folder: str, **texts: str) -> None:
    """Write files of `folder`, named TENANT__FILE; "" removes one."""
    for name, text in texts.items():
        path = workspace / folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if text:
            path.write_text(text)


def stage(workspace: Path, **texts: str) -> list[str]:
    """Stage the folders of the tenants whose files these are, and write them there; return the tenants."""
    tenants = sorted({name.partition("__")[0] for name in texts})
    stage_tenants(workspace, tenants)
    write(workspace, STAGED, **texts)
    return tenants


def add_all(workspace: Path, tenants: list[str]) -> None:
    """Add the new version as DVC's command does, from a folder with all files."""
    stage_others(workspace, tenants)
    dvc.add(workspace, STAGED)


def list_remote(workspace: Path) -> set[str]:
    files = (workspace.parent / "remote" / "files" / "md5").rglob("*")
    return {path.parent.name + path.name for path in files if path.is_file()}


@pytest.fixture(scope="module")
def _versioned(_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("versioned")
    shutil.copytree(_template, parent, dirs_exist_ok=True)
    workspace = parent / "workspace"
    write(workspace, "data", a__train="one", a__test="two", b__train="one", c__train="three", readme="of the fleet")
    dvc.add_data(workspace)
    dvc.push(workspace)
    return parent


@pytest.fixture
def versioned(_versioned: Path, tmp_path: Path) -> Path:
    """A workspace with a version that is in its remote, the folder `remote` beside it."""
    shutil.copytree(_versioned, tmp_path, dirs_exist_ok=True)
    return tmp_path / "workspace"


@pytest.mark.parametrize(
    "texts",
    [
        {"a__train": "new", "b__train": "also new", "d__train": "first", "d__test": "first"},
        {"a__train": "", "a__test": ""},
        {"a__train": "three", "a__deep/notes": "é \n"},
        {},
    ],
)
def test_the_version_is_that_of_dvc_add(versioned: Path, texts: dict[str, str]) -> None:
    tenants = stage(versioned, **texts)
    assert add_changes(versioned, STAGED, tenants)
    made = read_pointer_output(versioned / POINTER)
    (versioned / POINTER).unlink()
    add_all(versioned, tenants)
    assert made == read_pointer_output(versioned / POINTER)


def test_a_file_that_dvc_ignores_is_no_part_of_the_version(versioned: Path) -> None:
    (versioned / ".dvcignore").write_text("*.bak\n")
    stage(versioned, **{"a__train": "new", "a__train.bak": "old"})
    assert add_changes(versioned, STAGED, ["a"])
    made = read_pointer_output(versioned / POINTER)
    add_all(versioned, ["a"])
    assert made == read_pointer_output(versioned / POINTER)


def test_only_new_files_and_then_the_listing_are_sent(versioned: Path) -> None:
    before = list_remote(versioned)
    stage(versioned, a__train="new", a__test="three", d__train="first")
    assert add_changes(versioned, STAGED, ["a", "d"])
    assert push_changes(versioned, POINTER)
    sent = list_remote(versioned) - before
    assert len(sent) == 3
    assert read_dataset_version(versioned / POINTER) in sent
    shutil.rmtree(versioned / ".dvc" / "cache")
    shutil.rmtree(versioned / STAGED)
    dvc.pull(versioned, POINTER)
    assert (versioned / STAGED / "a" / "train").read_text() == "new"
    assert (versioned / STAGED / "c" / "train").read_text() == "three"


def test_a_version_made_of_changes_is_clean_and_dvc_push_has_nothing_to_send(versioned: Path) -> None:
    with create_version(versioned, ["a"], push=True) as staged:
        write(versioned, staged.name, a__train="new")
    assert dvc.is_clean(versioned)
    assert "Everything is up to date" in dvc.run_dvc(versioned, "push")
    assert (versioned / ".gitignore").read_text() == "/data\n"
    assert (versioned / "data" / "a" / "train").read_text() == "new"


def break_cache_type(workspace: Path) -> None:
    dvc.run_dvc(workspace, "config", "cache.type", "hardlink")


def break_listing(workspace: Path) -> None:
    name = read_dataset_version(workspace / "data.dvc")
    path = workspace / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_text("[]")


def remove_cache(workspace: Path) -> None:
    shutil.rmtree(workspace / ".dvc" / "cache")


def make_pointer_old(workspace: Path) -> None:
    output = read_pointer_output(workspace / "data.dvc")
    del output["hash"]
    (workspace / "data.dvc").write_text(yaml.safe_dump({"outs": [output]}))


def remove_pointer(workspace: Path) -> None:
    (workspace / "data.dvc").unlink()


def add_ignore_file(workspace: Path) -> None:
    (workspace / STAGED / "a" / ".dvcignore").touch()


@pytest.mark.parametrize(
    "damage", [break_cache_type, break_listing, remove_cache, make_pointer_old, remove_pointer, add_ignore_file]
)
def test_where_the_version_cannot_be_made_of_changes_nothing_is_written(versioned: Path, damage) -> None:
    stage(versioned, a__train="new")
    damage(versioned)
    assert not add_changes(versioned, STAGED, ["a"])
    assert not (versioned / POINTER).exists()


def test_a_folder_without_files_is_left_to_dvc(versioned: Path) -> None:
    (versioned / STAGED).mkdir()
    assert not add_changes(versioned, STAGED, ["a", "b", "c", "readme"])


def test_a_remote_without_the_former_version_gets_nothing(versioned: Path) -> None:
    stage(versioned, a__train="new")
    assert add_changes(versioned, STAGED, ["a"])
    remote = versioned.parent / "remote"
    shutil.rmtree(remote)
    assert not push_changes(versioned, POINTER)
    assert not list_remote(versioned)
    remote.write_text("a file")
    assert not push_changes(versioned, POINTER)
    (versioned / ".dvc" / "config").write_text("")
    assert not push_changes(versioned, POINTER)
