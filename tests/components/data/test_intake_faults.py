"""Kills and failures at every point of an intake, with a fake of DVC that keeps a cache of folders by digest."""

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import DataConfig
from components.data import dvc, swap
from components.data.drop_checks import check_drop
from components.data.drops import list_pending, remove_checked_files
from components.data.intake import take_drops
from components.data.schema import SPLITS, Example, format_line, write_split
from components.errors import WorkspaceError

LIMITS = DataConfig(max_rejects=0.5)
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link")


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def digest(folder: Path) -> str:
    return hashlib.md5(repr(sorted(tree(folder).items())).encode()).hexdigest()


def fake_add(workspace: Path, target: str) -> None:
    pointer = {"outs": [{"md5": digest(workspace / target), "path": target}]}
    (workspace / f"{target}.dvc").write_text(yaml.safe_dump(pointer))
    (workspace / ".gitignore").write_text("/data\n/data.tmp\n")


def fake_push(workspace: Path, target: str) -> None:
    (workspace / "pushed").write_text((workspace / target).read_text())


def fake_is_clean(workspace: Path) -> bool:
    return digest(workspace / "data") == version(workspace)


def version(workspace: Path) -> str:
    return str(yaml.safe_load((workspace / "data.dvc").read_text())["outs"][0]["md5"])


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with two tenants and a drop for each, one of them with a line to reject; and a drop to refuse."""
    monkeypatch.setattr(dvc, "add", fake_add)
    monkeypatch.setattr(dvc, "push", fake_push)
    monkeypatch.setattr(dvc, "is_clean", fake_is_clean)
    workspace = tmp_path / "start"
    for tenant in ("a", "b"):
        for split in SPLITS:
            write_split(workspace / "data" / tenant / f"{split}.jsonl", [Example(f"{tenant} {split} old", ("x",))])
            write_split(workspace / "drops" / tenant / f"{split}.jsonl", [Example(f"{tenant} {split} new", ("x",))])
    with (workspace / "drops" / "a" / "train.jsonl").open("a") as file:
        file.write("{oops\n")
    write_split(workspace / "drops" / "half" / "train.jsonl", [Example("c", ("x",))])
    fake_add(workspace, "data")
    (workspace / ".gitignore").write_text("/data\n")
    return workspace


def run_killed(workspace: Path, at: int) -> bool:
    """Take the drops in a child that is killed before its change number `at` of the disk; say whether it was."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        if event in CHANGES or writes:
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        take_drops(workspace, LIMITS)
    finally:
        os._exit(0)


def test_a_kill_at_any_point_leaves_the_old_version_or_the_new_one_and_loses_nothing(start: Path) -> None:
    done = start.with_name("done")
    shutil.copytree(start, done)
    assert take_drops(done, LIMITS).changed == ["a", "b"]
    versions_seen = {version(start): tree(start / "data"), version(done): tree(done / "data")}
    killed, stood = 0, set()
    for at in range(1, 500):
        workspace = start.with_name(f"killed-{at}")
        shutil.copytree(start, workspace)
        if not run_killed(workspace, at):
            break
        killed += 1
        if not (workspace / "data.dvc.next.tmp").exists():
            assert tree(workspace / "data") == versions_seen[version(workspace)]
        swap.recover_swap(workspace)
        stands = version(workspace)
        stood.add(stands)
        assert tree(workspace / "data") == versions_seen[stands]
        list_pending(workspace / "drops")
        for name, content in tree(start / "drops").items():
            path = workspace / "drops" / name
            assert stands == version(done) if not path.exists() else path.read_bytes() == content
        result = take_drops(workspace, LIMITS)
        assert (result.version, set(result.refused)) == (version(done), {"half"})
        assert tree(workspace) == tree(done)
        shutil.rmtree(workspace)
    assert killed > 40
    assert stood == set(versions_seen)


@pytest.mark.parametrize("step", ["add", "push"])
@pytest.mark.parametrize("failure", [WorkspaceError("a", "b", "c"), KeyboardInterrupt()])
def test_a_failing_step_leaves_everything_as_it_was(
    start: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    def fail(workspace: Path, target: str) -> None:
        raise failure

    before = tree(start)
    monkeypatch.setattr(dvc, step, fail)
    with pytest.raises(type(failure)):
        take_drops(start, LIMITS)
    after = tree(start)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"quarantine/a/train.jsonl"}


def test_a_rename_that_fails_is_made_good_at_the_next_start(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Path, Path], Path] = Path.rename
    old = tree(start / "data")

    def fail(self: Path, target: Path) -> Path:
        if self.name == "data.tmp":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(WorkspaceError, match="Permission denied"):
        take_drops(start, LIMITS)
    monkeypatch.undo()
    swap.recover_swap(start)
    assert set(tree(start / "data")) == set(old)
    assert tree(start / "data") != old
    assert len(tree(start / "drops")) == 7


def test_the_pointer_keeps_what_else_stands_in_it(start: Path) -> None:
    values = yaml.safe_load((start / "data.dvc").read_text())
    values["desc"] = "tenants"
    values["outs"][0]["remote"] = "eu"
    (start / "data.dvc").write_text(yaml.safe_dump(values))
    take_drops(start, LIMITS)
    after = yaml.safe_load((start / "data.dvc").read_text())
    assert (after["desc"], after["outs"][0]["remote"], after["outs"][0]["path"]) == ("tenants", "eu", "data")
    assert after["outs"][0]["md5"] == digest(start / "data")


def test_a_delivery_that_comes_while_the_drop_is_used_stays(tmp_path: Path) -> None:
    folder = tmp_path / "drops" / "a"
    for split in SPLITS:
        write_split(folder / f"{split}.jsonl", [Example("a", ("b",))])
    report = check_drop(folder, LIMITS)
    newer = Example("newer", ("b",))
    write_split(folder / "train.jsonl", [newer])
    with (folder / "test.jsonl").open("a") as file:
        file.write(format_line(newer))
    remove_checked_files(report, folder)
    assert set(tree(folder)) == {"train.jsonl", "test.jsonl"}
    assert tree(folder)["train.jsonl"] == format_line(newer).encode()
    assert tree(folder)["test.jsonl"].endswith(format_line(newer).encode())


def test_what_was_half_taken_away_is_put_back_beside_a_newer_delivery(tmp_path: Path) -> None:
    folder = tmp_path / "drops" / "a"
    folder.mkdir(parents=True)
    (folder / ".train.jsonl.taken.tmp").write_bytes(b"one")
    assert list_pending(tmp_path / "drops") == [folder]
    (folder / ".train.jsonl.taken.tmp").write_bytes(b"two")
    list_pending(tmp_path / "drops")
    assert tree(folder) == {"train.jsonl": b"two\none"}
