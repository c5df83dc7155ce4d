import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data.digest_cache import MIN_AGE_NS, DigestCache
from components.data.digests import compute_file_digest, compute_tenant_digest

NAMES = ("a/train.jsonl", "a/test.jsonl", "b/train.jsonl")
LIE = "0" * 64


def settled_ns() -> int:
    """A clock for which every file is old."""
    return time.time_ns() + 10 * MIN_AGE_NS


def open_at(root: Path, *, full_check: bool = False, now_ns: Callable[[], int] = settled_ns) -> DigestCache:
    return DigestCache(root / "var" / "digests", root, full_check=full_check, now_ns=now_ns)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def lie(root: Path) -> None:
    """Let the index say of every file, by its own rules, what no file has."""
    index = root / "var" / "digests"
    head, body = index.read_bytes().splitlines()
    lies = json.dumps({name: (facts, LIE) for name, (facts, _) in json.loads(body).items()}).encode()
    old, new = (hashlib.sha256(text).hexdigest().encode() for text in (body, lies))
    index.write_bytes(head.replace(old, new) + b"\n" + lies)


_name = st.sampled_from(NAMES)
_step = st.one_of(
    st.tuples(st.just("write"), _name, st.binary(min_size=1, max_size=2)),
    st.tuples(st.just("replace"), _name, st.binary(min_size=1, max_size=2)),
    st.tuples(st.just("rename"), _name, _name),
    st.tuples(st.just("touch"), _name, st.none()),
    st.tuples(st.just("remove"), _name, st.none()),
    st.tuples(st.just("restart"), _name, st.booleans()),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(_step, max_size=12))
def test_whatever_happens_to_files_the_digest_is_that_of_a_full_read(steps: list[tuple[str, str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        digests = open_at(root)
        for number, (verb, name, value) in enumerate(steps, 1):
            path = root / name
            path.parent.mkdir(exist_ok=True)
            if verb == "write":
                path.write_bytes(bytes(value))  # type: ignore[call-overload]
            elif verb == "replace":
                write(root / "next", bytes(value)).replace(path)  # type: ignore[call-overload]
            elif verb == "rename" and path.exists():
                (root / str(value)).parent.mkdir(exist_ok=True)
                path.rename(root / str(value))
            elif verb == "remove":
                path.unlink(missing_ok=True)
            elif verb == "restart":
                digests.save()
                digests = open_at(root, full_check=bool(value))
            if verb in ("write", "replace", "touch") and path.exists():
                os.utime(path, ns=(number * 10**9, number * 10**9))
            assert [digests.digest_file(root / one) for one in NAMES] == [
                compute_file_digest(root / one) for one in NAMES
            ]


@pytest.mark.parametrize("restart", [False, True])
def test_a_rewrite_within_one_tick_of_the_clock_is_not_missed(tmp_path: Path, restart: bool) -> None:
    digests, path = open_at(tmp_path, now_ns=time.time_ns), tmp_path / "file"
    for number in range(200):
        path.write_text(f"{number:03}")
        assert digests.digest_file(path) == hashlib.sha256(f"{number:03}".encode()).hexdigest()
        if restart:
            digests.save()
            digests = open_at(tmp_path, now_ns=time.time_ns)
    digests.save()
    assert not (tmp_path / "var" / "digests").exists()  # where ticks are too short to be met, this still can fail


def test_a_settled_file_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "train.jsonl", b"x")
    digests = open_at(tmp_path)
    truth = digests.digest_file(path)
    digests.save()
    lie(tmp_path)
    assert open_at(tmp_path).digest_file(path) == LIE
    assert open_at(tmp_path, full_check=True).digest_file(path) == truth
    path.touch()
    assert open_at(tmp_path).digest_file(path) == truth


def test_a_file_of_tomorrow_is_never_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"x")
    os.utime(path, (4e9, 4e9))
    digests = open_at(tmp_path)
    digests.digest_file(path)
    digests.save()
    assert not (tmp_path / "var" / "digests").exists()


def test_a_rewrite_of_the_same_size_and_time_is_seen_by_its_change_time_or_by_a_full_check(tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"one")
    before = path.stat()
    digests = open_at(tmp_path)
    digests.digest_file(path)
    digests.save()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(b"two")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    for full_check in (False, True):
        assert open_at(tmp_path, full_check=full_check).digest_file(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("cut", [0, 10, 60, -1])
def test_a_broken_index_costs_only_reading(tmp_path: Path, cut: int) -> None:
    path, index = write(tmp_path / "file", b"x"), tmp_path / "var" / "digests"
    digests = open_at(tmp_path)
    truth = digests.digest_file(path)
    digests.save()
    lie(tmp_path)
    index.write_bytes(index.read_bytes()[:cut])
    digests = open_at(tmp_path)
    assert digests.digest_file(path) == truth
    digests.save()
    lie(tmp_path)
    assert open_at(tmp_path).digest_file(path) == LIE


def test_processes_keep_what_each_has_learned_and_drop_what_is_gone(tmp_path: Path) -> None:
    one, other, gone = (write(tmp_path / name, name.encode()) for name in ("one", "other", "gone"))
    first, second = open_at(tmp_path), open_at(tmp_path)
    first.digest_file(one), first.digest_file(gone), second.digest_file(other)
    gone.unlink()
    first.save()
    second.save()
    known = json.loads((tmp_path / "var" / "digests").read_bytes().splitlines()[1])
    assert set(known) == {"one", "other"}


def test_an_index_survives_the_kill_of_its_writers(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}", f"{number}".encode()) for number in range(300)]
    script = f"""
import sys, pathlib, time
from components.data.digest_cache import DigestCache
root = pathlib.Path({str(tmp_path)!r})
while True:
    digests = DigestCache(root / "var" / "digests", root, full_check=True, now_ns=lambda: time.time_ns() + 10**11)
    for number in range(300):
        digests.digest_file(root / str(number))
    digests.save()
"""
    for wait_s in (0.3, 0.31, 0.33):
        writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
        while not (tmp_path / "var" / "digests").exists():
            time.sleep(0.02)
        time.sleep(wait_s)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        digests = open_at(tmp_path)
        assert [digests.digest_file(path) for path in paths] == [compute_file_digest(path) for path in paths]
        lie(tmp_path)
        assert open_at(tmp_path).digest_file(paths[0]) == LIE
        (tmp_path / "var" / "digests").unlink()


def test_what_a_full_check_did_not_read_is_not_believed_after_it_either(tmp_path: Path) -> None:
    """One process of a run checks the plan's files in full, the next one looks at others by the same index."""
    seen, unseen = (write(tmp_path / name, name.encode()) for name in ("seen", "unseen"))
    first = open_at(tmp_path)
    assert first.digest_file(seen) != first.digest_file(unseen)
    first.save()
    lie(tmp_path)
    full = open_at(tmp_path, full_check=True)
    full.digest_file(seen)
    full.save()
    beside = open_at(tmp_path)
    assert [beside.digest_file(path) for path in (seen, unseen)] == [
        compute_file_digest(seen),
        compute_file_digest(unseen),
    ]
    beside.save()
    full.digest_file(write(tmp_path / "later", b"later"))
    full.save()
    assert set(json.loads((tmp_path / "var" / "digests").read_bytes().splitlines()[1])) == {"seen", "unseen", "later"}


def test_a_full_check_that_learns_nothing_still_forgets(tmp_path: Path) -> None:
    path = write(tmp_path / "one", b"one")
    first = open_at(tmp_path)
    first.digest_file(path)
    first.save()
    lie(tmp_path)
    open_at(tmp_path, full_check=True).save()
    assert open_at(tmp_path).digest_file(path) == compute_file_digest(path)


def test_a_tenant_digest_is_the_same_from_memory(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / "a" / f"{split}.jsonl", split.encode())
    digests = open_at(tmp_path)
    assert {compute_tenant_digest(tmp_path, "a", digests.digest_file) for _ in range(2)} == {
        compute_tenant_digest(tmp_path, "a")
    }
    (tmp_path / "folder").mkdir()
    assert (digests.digest_file(tmp_path / "folder"), digests.digest_file(tmp_path / "a" / "test.jsonl" / "x")) == (
        None,
        None,
    )


def test_a_folder_is_named_again_when_one_of_its_files_changes(tmp_path: Path) -> None:
    read = []

    def name(folder: Path) -> str:
        read.append(folder)
        return " ".join(sorted(path.read_text() for path in folder.glob("*.txt")))

    first, second = write(tmp_path / "base" / "1.txt", b"one"), write(tmp_path / "base" / "2.txt", b"two")
    digests = open_at(tmp_path)
    assert {digests.digest_folder(tmp_path / "base", name) for _ in range(3)} == {"one two"}
    digests.save()
    digests = open_at(tmp_path)
    assert (digests.digest_folder(tmp_path / "base", name), len(read)) == ("one two", 1)
    second.write_bytes(b"too")
    assert digests.digest_folder(tmp_path / "base", name) == "one too"
    first.rename(first.with_suffix(".bak"))
    assert digests.digest_folder(tmp_path / "base", name) == "too"
    assert open_at(tmp_path, full_check=True).digest_folder(tmp_path / "base", name) == "too"
    assert len(read) == 4
