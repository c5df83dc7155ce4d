"""The identity of a workspace: kept when it is moved, new for a copy beside its original."""

import json
import os
import shutil

import pytest

from components.errors import WorkspaceError
from components.storage.workspace_identity import IDENTITY_FILE, open_identity


def test_the_identity_is_made_once_and_kept(tmp_path):
    first = open_identity(tmp_path)
    assert open_identity(tmp_path) == first
    assert json.loads((tmp_path / IDENTITY_FILE).read_text())["id"] == first.id


def test_a_moved_workspace_keeps_its_id(tmp_path):
    first = open_identity(tmp_path / "a b")
    (tmp_path / "a b").rename(tmp_path / "ü")
    moved = open_identity(tmp_path / "ü")
    assert (moved.id, moved.folder) == (first.id, str(tmp_path / "ü" / "var"))
    assert not moved.has_living_original
    assert open_identity(tmp_path / "ü") == moved


def test_a_copy_beside_its_original_gets_a_new_id(tmp_path):
    first = open_identity(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = open_identity(tmp_path / "b")
    assert copy.id != first.id
    assert (copy.copied_from_id, copy.copied_from_folder) == (first.id, first.folder)
    assert open_identity(tmp_path / "b") == copy
    assert open_identity(tmp_path / "a") == first
    assert copy.has_living_original
    shutil.rmtree(tmp_path / "a")
    assert not copy.has_living_original


def test_one_folder_under_two_paths_is_one_workspace(tmp_path):
    first = open_identity(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert open_identity(tmp_path / "link") == first
    (tmp_path / "a" / "var").rename(tmp_path / "disk")
    (tmp_path / "a" / "var").symlink_to(tmp_path / "disk")
    assert open_identity(tmp_path / "a").id == first.id
    shutil.copytree(tmp_path / "a", tmp_path / "b", symlinks=True)  # both use one var
    assert open_identity(tmp_path / "b").id == open_identity(tmp_path / "a").id == first.id


def test_a_queued_experiment_of_dvc_is_the_same_workspace(tmp_path):
    first = open_identity(tmp_path)
    folder = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc123"
    folder.mkdir(parents=True)
    assert open_identity(folder) == first
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 3}', '{"id": "", "folder": "", "made_at": ""}', "1" * 5000])
def test_a_broken_file_is_an_error_that_says_what_to_do(tmp_path, content):
    (tmp_path / "var").mkdir()
    (tmp_path / IDENTITY_FILE).write_text(content)
    with pytest.raises(WorkspaceError, match=r"workspace\.json.*restore"):
        open_identity(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_on_a_disk_that_cannot_be_written_nothing_fails(tmp_path):
    first = open_identity(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "b" / "var").chmod(0o500)
    assert open_identity(tmp_path / "b").id == first.id
    (tmp_path / "b" / "var").chmod(0o700)
