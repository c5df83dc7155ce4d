"""Digests in the work tree and in git's commits: of the last days they are needed, of older ones known."""

import pytest

from components.data.dvc_references import find_references
from components.errors import WorkspaceError

NOW_S = 1_800_000_000
DAY_S = 86_400


@pytest.fixture
def repository(tmp_path, run_in, monkeypatch):
    """A function of a day and the digest in data.dvc that makes a commit of that day."""
    root = tmp_path / "fleet"
    root.mkdir()
    run_in(root, "git", "init", "-q", "-b", "main")

    def commit(days, letter):
        (root / "data.dvc").write_text(f"outs:\n- md5: {letter * 32}.dir\n  path: data\n")
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{NOW_S - days * DAY_S} +0000")
        run_in(root, "git", "add", "-A")
        run_in(root, "git", "commit", "-q", "-m", letter)

    commit.root = root
    return commit


def test_recent_commits_tips_and_the_work_tree_are_needed_and_the_rest_is_known(repository, run_in):
    root = repository.root
    repository(400, "a")
    repository(300, "b")
    run_in(root, "git", "checkout", "-q", "-b", "experiment")
    repository(290, "c")
    run_in(root, "git", "checkout", "-q", "main")
    repository(100, "d")
    repository(5, "e")
    repository(1, "f")
    run_in(root, "git", "tag", "-a", "-m", "first", "v1", "main~3")
    (root / "dvc.lock").write_text(f"stages: {{train: {{outs: [{{md5: {'0' * 32}}}]}}}}")
    (root / "var").mkdir()
    (root / "var" / "x.dvc").write_text("9" * 32)

    found = find_references(root, NOW_S - 30 * DAY_S)

    present, recent = {"0" * 32, f"{'f' * 32}.dir"}, {f"{'e' * 32}.dir"}
    tips = {f"{letter * 32}.dir" for letter in "cb"}
    assert found.needed == present | recent | tips
    assert found.known == found.needed | {f"{letter * 32}.dir" for letter in "ad"}


def test_a_folder_in_a_repository_and_one_in_none(repository, tmp_path):
    repository(5, "a")
    inner = repository.root / "inner"
    inner.mkdir()
    assert find_references(inner, NOW_S - 30 * DAY_S).needed == {f"{'a' * 32}.dir"}
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "data.dvc").write_text("md5: " + "b" * 32)
    assert find_references(alone, 0).known == find_references(alone, NOW_S).needed == {"b" * 32}


def test_a_damaged_repository_is_refused(repository):
    repository(5, "a")
    for path in (repository.root / ".git" / "objects").glob("??/*"):
        path.unlink()
    with pytest.raises(WorkspaceError, match="git fsck"):
        find_references(repository.root, 0)
