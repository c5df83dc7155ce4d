"""Kills and failures at every point of an intake, with a fake of DVC."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from fake_dvc import fake_add, fake_add_changes, read_tree, read_version

from components.config import DataConfig
from components.data import dvc, dvc_changes, swap
from components.data.drops import list_pending
from components.data.intake import take_drops
from components.data.schema import Example, write_split
from components.errors import WorkspaceError

LIMITS = DataConfig(max_rejects=0.5)
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link")


KILLED = f"""
import os, signal, sys
from pathlib import Path

from components.config import DataConfig
from components.data import dvc, dvc_changes
from components.data.intake import take_drops
from fake_dvc import fake_add, fake_add_changes, fake_is_clean, fake_push

os.fsync = lambda _: None  # a killed process loses nothing without it, and it takes long
dvc.add, dvc.push, dvc.is_clean = fake_add, fake_push, fake_is_clean


def run(workspace, at, adds):
    seen = 0
    if adds == "changes":
        dvc_changes.add_changes = fake_add_changes

    def hook(event, arguments):
        nonlocal seen
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        if event in {CHANGES} or writes:
            seen += 1
            if seen == int(at):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    take_drops(Path(workspace), DataConfig(max_rejects={LIMITS.max_rejects}))
"""
"""Takes the drops, and is killed just before its `at`-th write."""


def copy_workspace(start: Path, name: str, link: Path | None) -> Path:
    """Copy a workspace; with `link`, data/ becomes a symbolic link to a folder in it."""
    workspace = start.with_name(name)
    shutil.copytree(start, workspace)
    if link is not None:
        shutil.rmtree(link, ignore_errors=True)
        link.mkdir()
        (workspace / "data").rename(link / "data")
        (workspace / "data").symlink_to(link / "data")
    return workspace


@pytest.mark.parametrize("adds", ["changes", "all"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_kill_at_any_point_leaves_one_whole_version_and_loses_no_drop(
    fake_workspace: Path, start_forks: Any, monkeypatch: pytest.MonkeyPatch, linked: bool, adds: str
) -> None:
    write_split(fake_workspace / "data" / "c" / "train.jsonl", [Example("unchanged", ("x",))])
    fake_add(fake_workspace, "data")
    (fake_workspace / ".gitignore").write_text("/data\n")
    if adds == "changes":
        monkeypatch.setattr(dvc_changes, "add_changes", fake_add_changes)
    disk = fake_workspace.with_name("disk") if linked else None
    done = copy_workspace(fake_workspace, "done", None)
    assert take_drops(done, LIMITS).changed == ["a", "b"]
    data_by_version = {
        read_version(fake_workspace): read_tree(fake_workspace / "data"),
        read_version(done): read_tree(done / "data"),
    }
    fork, killed, outcomes = start_forks(KILLED), 0, set()
    for at in range(1, 500, {"changes": 1, "all": 3}[adds] * (3 if linked else 1)):
        workspace = copy_workspace(fake_workspace, f"killed-{at}", disk)
        if (status := fork(str(workspace), str(at), adds)()) == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
        if not (workspace / "data.dvc.new.tmp").exists():
            assert read_tree(workspace / "data") == data_by_version[read_version(workspace)]
        swap.recover_swap(workspace)
        recovered = read_version(workspace)
        outcomes.add(recovered)
        assert read_tree(workspace / "data") == data_by_version[recovered]
        list_pending(workspace / "drops")
        for name, content in read_tree(fake_workspace / "drops").items():
            path = workspace / "drops" / name
            assert recovered == read_version(done) if not path.exists() else path.read_bytes() == content
        result = take_drops(workspace, LIMITS)
        assert (result.version, set(result.refused)) == (read_version(done), {"half"})
        assert read_tree(workspace) == read_tree(done)
        assert disk is None or (
            (workspace / "data").is_symlink() and [path.name for path in disk.iterdir()] == ["data"]
        )
        shutil.rmtree(workspace)
    assert killed > {("changes", False): 40, ("changes", True): 13, ("all", False): 13, ("all", True): 5}[adds, linked]
    assert outcomes == set(data_by_version)


@pytest.mark.parametrize("step", ["add", "push"])
@pytest.mark.parametrize("failure", [WorkspaceError("a", "b", "c"), KeyboardInterrupt()])
def test_a_failing_step_changes_nothing_but_the_quarantine(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    def fail(workspace: Path, target: str) -> None:
        raise failure

    before = read_tree(fake_workspace)
    monkeypatch.setattr(dvc, step, fail)
    with pytest.raises(type(failure)):
        take_drops(fake_workspace, LIMITS)
    after = read_tree(fake_workspace)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"quarantine/a/train.jsonl"}
