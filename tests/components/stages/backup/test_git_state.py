"""The repository in a backup: all branches, what is not committed, a detached commit, no commit at all."""

import subprocess

import pytest

from components.stages.backup.git_state import (
    list_changed,
    list_tracked,
    read_git_state,
    restore_repository,
    write_bundle,
)


@pytest.fixture
def repository(tmp_path, run_in):
    root = tmp_path / "repository"
    (root / "fleet").mkdir(parents=True)
    run_in(root, "git", "init", "-q", "-b", "main")
    for name in ("fleet/kept", "fleet/changed", "fleet/removed", "other"):
        (root / name).write_text("1")
    run_in(root, "git", "add", "-A")
    run_in(root, "git", "commit", "-q", "-m", "one")
    run_in(root, "git", "branch", "side")
    run_in(root, "git", "remote", "add", "origin", "https://ada:secret@host/x")
    (root / "fleet" / "changed").write_text("2")
    (root / "fleet" / "removed").unlink()
    (root / "fleet" / "new").write_text("untracked")
    return root


def restore(root, tmp_path, state):
    write_bundle(root, tmp_path / "bundle")
    (tmp_path / "new").mkdir()
    restore_repository(tmp_path / "bundle", state, tmp_path / "new")
    return lambda *words: subprocess.check_output(["git", *words], cwd=tmp_path / "new", text=True).split()


def test_a_workspace_in_a_folder_of_its_repository_comes_back_with_all_branches(repository, tmp_path):
    state = read_git_state(repository / "fleet")
    assert (state.folder, state.branch, state.removed) == ("fleet", "refs/heads/main", ("removed",))
    assert state.remotes == ("origin https://ada:***@host/x",)
    assert list_changed(repository / "fleet", state) == ["changed"]
    assert list_tracked(repository / "fleet") == {"kept", "changed", "removed"}
    git = restore(repository, tmp_path, state)
    assert git("rev-parse", "HEAD", "side") == [state.commit] * 2
    assert git("symbolic-ref", "HEAD") == ["refs/heads/main"]
    assert (tmp_path / "new" / "fleet" / "changed").read_text() == "1"
    assert git("status", "--porcelain") == []


def test_a_detached_commit_comes_back_detached(repository, tmp_path, run_in):
    run_in(repository, "git", "checkout", "-q", "--detach")
    run_in(repository, "git", "commit", "-q", "-am", "two")
    state = read_git_state(repository)
    assert state.branch == ""
    git = restore(repository, tmp_path, state)
    assert git("rev-parse", "HEAD") == [state.commit]
    assert git("rev-parse", "--abbrev-ref", "HEAD") == ["HEAD"]


def test_without_a_commit_every_tracked_file_counts_as_changed(tmp_path, run_in):
    root = tmp_path / "fresh"
    root.mkdir()
    assert read_git_state(root) is None
    run_in(root, "git", "init", "-q", "-b", "trunk")
    (root / "added").write_text("1")
    run_in(root, "git", "add", "added")
    state = read_git_state(root)
    assert (state.commit, list_changed(root, state)) == ("", ["added"])
    (tmp_path / "new").mkdir()
    restore_repository(None, state, tmp_path / "new")
    assert read_git_state(tmp_path / "new").branch == "refs/heads/trunk"
