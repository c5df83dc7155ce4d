"""Intakes with the real DVC."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_until
from zc.lockfile import LockFile

from components.config import DataConfig
from components.data import dvc
from components.data.digests import compute_tenant_digest, read_dataset_version
from components.data.intake import IntakeResult, take_drops
from components.data.schema import SPLITS, Example, read_split, write_split
from components.errors import DataError, WorkspaceError
from components.storage import atomic_files

LIMITS = DataConfig(max_rejects=0.4)


def deliver(workspace: Path, tenant: str, *words: str, splits: tuple[str, ...] = SPLITS) -> None:
    for split in splits:
        rows = [Example(f"{split} {word}", (word,)) for word in words]
        write_split(workspace / "drops" / tenant / f"{split}.jsonl", rows)


def sources(workspace: Path, tenant: str, split: str = "train") -> list[str]:
    return [example.source for example in read_split(workspace / "data" / tenant / f"{split}.jsonl", LIMITS)]


def has_no_leftovers(workspace: Path) -> bool:
    return not list(workspace.rglob("*.tmp")) and not (workspace / "data.tmp.dvc").exists()


@pytest.mark.slow
def test_drops_become_versions_that_a_fresh_clone_can_pull(workspace: Path, tmp_path: Path) -> None:
    deliver(workspace, "b", "one")
    deliver(workspace, "a", "one", "one", "two")
    deliver(workspace, "Bad", "one")
    deliver(workspace, "half", "one", splits=("train", "validation"))
    (workspace / "drops" / "stray").touch()
    first = take_drops(workspace, LIMITS)
    assert first.version == read_dataset_version(workspace / "data.dvc")
    assert first.changed == ["a", "b"]
    assert set(first.refused) == {"Bad", "half", "stray"}
    assert "no test split" in first.refused["half"]
    assert sources(workspace, "a") == ["train one", "train two"]
    assert sorted(path.name for path in (workspace / "drops").iterdir()) == ["Bad", "half", "stray"]
    assert dvc.is_clean(workspace)
    assert has_no_leftovers(workspace)
    assert (workspace / ".gitignore").read_text() == "/data\n"

    assert take_drops(workspace, LIMITS, ["a", "b"]) == IntakeResult(first.version, [], {}, 0)

    untouched = compute_tenant_digest(workspace / "data", "b")
    deliver(workspace, "a", "two", "three", splits=("train",))
    with (workspace / "drops" / "a" / "train.jsonl").open("a") as file:
        file.write("{oops\n")
    second = take_drops(workspace, LIMITS, ["a"])
    assert (second.changed, second.refused, second.rejects) == (["a"], {}, 1)
    assert second.version not in ("", first.version)
    assert sources(workspace, "a") == ["train one", "train two", "train three"]
    assert compute_tenant_digest(workspace / "data", "b") == untouched
    assert "broken JSON" in (workspace / "quarantine" / "a" / "train.jsonl").read_text()

    subprocess.run(["git", "add", "data.dvc", ".gitignore"], cwd=workspace, check=True)
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "data"]
    subprocess.run(commit, cwd=workspace, check=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(workspace), str(clone)], check=True)
    deliver(clone, "b", "four", splits=("test",))
    assert take_drops(clone, LIMITS).changed == ["b"]
    assert sources(clone, "a") == sources(workspace, "a")
    assert sources(clone, "b", "test") == ["test one", "test four"]


def test_without_a_remote_the_old_version_and_the_drops_are_kept(workspace: Path) -> None:
    deliver(workspace, "a", "one")
    old = take_drops(workspace, LIMITS.model_copy(update={"push": False})).version
    (workspace / ".dvc" / "config").write_text("")
    deliver(workspace, "a", "two")
    with pytest.raises(WorkspaceError, match="a DVC remote to push"):
        take_drops(workspace, LIMITS)
    assert read_dataset_version(workspace / "data.dvc") == old
    assert sources(workspace, "a") == ["train one"]
    assert len(list((workspace / "drops" / "a").iterdir())) == 3
    assert has_no_leftovers(workspace)

    (workspace / "data" / "a" / "test.jsonl").write_text("edited by hand")
    with pytest.raises(WorkspaceError, match=r"the version of data/ that data\.dvc names"):
        take_drops(workspace, LIMITS)
    assert (workspace / "data" / "a" / "test.jsonl").read_text() == "edited by hand"


@pytest.mark.slow
def test_a_process_killed_while_dvc_works_leaves_the_old_version(workspace: Path) -> None:
    deliver(workspace, "a", "one")
    old = take_drops(workspace, LIMITS.model_copy(update={"push": False})).version
    deliver(workspace, "a", "two")
    code = (
        "import sys; from pathlib import Path; from components.config import DataConfig;"
        "from components.data.intake import take_drops; take_drops(Path(sys.argv[1]), DataConfig())"
    )
    command = [sys.executable, "-c", code, str(workspace)]
    lock, staged = workspace / ".dvc" / "tmp" / "lock", workspace / "data.tmp" / "a" / "test.jsonl"
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], start_new_session=True) as process:
        wait_until((workspace / "data.tmp").exists, "the intake to stage data.tmp")
        held = LockFile(str(lock))  # DVC waits for it
        wait_until(lambda: b"two" in staged.read_bytes(), "the intake to write data.tmp")
        os.killpg(process.pid, signal.SIGKILL)
    held.close()
    assert read_dataset_version(workspace / "data.dvc") == old
    assert sources(workspace, "a") == ["train one"]
    result = take_drops(workspace, LIMITS)
    assert result.changed == ["a"]
    assert sources(workspace, "a") == ["train one", "train two"]
    assert has_no_leftovers(workspace)
    assert dvc.is_clean(workspace)


def test_a_path_instead_of_a_tenant_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DNS label"):
        take_drops(tmp_path, LIMITS, ["../other"])


def test_an_intake_without_drops_changes_nothing(tmp_path: Path) -> None:
    assert take_drops(tmp_path, LIMITS) == IntakeResult("", [], {}, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_in_quarantine_stops_the_intake_before_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    deliver(tmp_path, "a", "one", "two", "three")
    with (tmp_path / "drops" / "a" / "train.jsonl").open("a") as file:
        file.write("{oops\n")
    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(WorkspaceError, match="free space"):
        take_drops(tmp_path, LIMITS)
    assert len(list((tmp_path / "drops" / "a").iterdir())) == 3
    assert not (tmp_path / "data").exists()


def test_a_drop_that_copies_train_to_test_is_refused_and_a_taken_one_is_counted(fake_workspace: Path) -> None:
    same = [Example(f"same {number}", ("x",)) for number in range(4)]
    write_split(fake_workspace / "drops" / "b" / "train.jsonl", same)
    write_split(fake_workspace / "drops" / "b" / "test.jsonl", same)
    twice = [Example("a train new", ("x",)), Example("a train new", ("x",)), Example("a train old", ("x",))]
    write_split(fake_workspace / "drops" / "a" / "train.jsonl", twice)
    result = take_drops(fake_workspace, LIMITS)
    assert result.changed == ["a"]
    assert "4 of 5 test examples (80.0%) have a source that is also in train" in result.refused["b"]
    assert (fake_workspace / "drops" / "b" / "test.jsonl").exists()
    counts = result.taken["a"].counts["train"]
    assert (counts.duplicates, counts.known, counts.new) == (1, 1, 1)
    assert take_drops(fake_workspace, LIMITS.model_copy(update={"max_overlap": 1.0})).changed == ["b"]
