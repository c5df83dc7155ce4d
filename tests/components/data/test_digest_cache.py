import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from digest_caches import FORGED, forge_index, open_cache, write
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import wait_until

from components.data.digests import compute_file_digest, compute_tenant_digest

NAMES = ("a/train.jsonl", "a/test.jsonl", "b/train.jsonl")


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
def test_after_any_changes_the_digest_equals_that_of_a_full_read(steps: list[tuple[str, str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        digests = open_cache(root)
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
                digests = open_cache(root, full_check=bool(value))
            if verb in ("write", "replace", "touch") and path.exists():
                os.utime(path, ns=(number * 10**9, number * 10**9))
            assert [digests.digest_file(root / one) for one in NAMES] == [
                compute_file_digest(root / one) for one in NAMES
            ]


@pytest.mark.parametrize("restart", [False, True])
def test_a_rewrite_within_one_tick_of_the_clock_is_noticed(tmp_path: Path, restart: bool) -> None:
    path = tmp_path / "file"

    def at_last_write_ns() -> int:
        return path.stat().st_mtime_ns

    digests = open_cache(tmp_path, now_ns=at_last_write_ns)
    for number in range(200):
        path.write_text(f"{number:03}")
        assert digests.digest_file(path) == hashlib.sha256(f"{number:03}".encode()).hexdigest()
        if restart:
            digests.save()
            digests = open_cache(tmp_path, now_ns=at_last_write_ns)
    digests.save()
    assert not (tmp_path / "var" / "digests").exists()  # fails without the rule even if each write had its own tick


def test_an_old_file_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "train.jsonl", b"x")
    digests = open_cache(tmp_path)
    truth = digests.digest_file(path)
    digests.save()
    forge_index(tmp_path)
    assert open_cache(tmp_path).digest_file(path) == FORGED
    assert open_cache(tmp_path, full_check=True).digest_file(path) == truth
    path.touch()
    assert open_cache(tmp_path).digest_file(path) == truth


def test_a_file_with_a_time_in_the_future_is_never_cached(tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"x")
    os.utime(path, (4e9, 4e9))
    digests = open_cache(tmp_path)
    digests.digest_file(path)
    digests.save()
    assert not (tmp_path / "var" / "digests").exists()


def test_a_rewrite_with_the_same_size_and_mtime_is_noticed_by_its_ctime(tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"one")
    before = path.stat()
    digests = open_cache(tmp_path)
    digests.digest_file(path)
    digests.save()

    def rewrite() -> bool:
        path.write_bytes(b"two")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return path.stat().st_ctime_ns != before.st_ctime_ns

    wait_until(rewrite, "the file system's clock to tick")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    for full_check in (False, True):
        assert open_cache(tmp_path, full_check=full_check).digest_file(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("cut", [0, 10, 60, -1])
def test_a_broken_index_is_replaced(tmp_path: Path, cut: int) -> None:
    path, index = write(tmp_path / "file", b"x"), tmp_path / "var" / "digests"
    digests = open_cache(tmp_path)
    truth = digests.digest_file(path)
    digests.save()
    forge_index(tmp_path)
    index.write_bytes(index.read_bytes()[:cut])
    digests = open_cache(tmp_path)
    assert digests.digest_file(path) == truth
    digests.save()
    forge_index(tmp_path)
    assert open_cache(tmp_path).digest_file(path) == FORGED


@pytest.mark.parametrize("body", ["[" * 10**5, "9" * 5000, "[]", '{"a": 1}', '{"a": ["b"]}', '{"a": null}'])
def test_an_index_of_other_values_with_a_right_digest_is_replaced(tmp_path: Path, body: str) -> None:
    path, index = write(tmp_path / "file", b"x"), tmp_path / "var" / "digests"
    truth = open_cache(tmp_path).digest_file(path)
    index.parent.mkdir(exist_ok=True)
    index.write_bytes(f"prefixfleet digests 1 {hashlib.sha256(body.encode()).hexdigest()}\n{body}".encode())
    assert open_cache(tmp_path).digest_file(path) == truth


def test_a_tenant_digest_is_the_same_with_the_cache(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / "a" / f"{split}.jsonl", split.encode())
    digests = open_cache(tmp_path)
    assert {compute_tenant_digest(tmp_path, "a", digests.digest_file) for _ in range(2)} == {
        compute_tenant_digest(tmp_path, "a")
    }
    (tmp_path / "folder").mkdir()
    assert (digests.digest_file(tmp_path / "folder"), digests.digest_file(tmp_path / "a" / "test.jsonl" / "x")) == (
        None,
        None,
    )


def test_a_folder_s_digest_is_computed_again_when_one_of_its_files_changes(tmp_path: Path) -> None:
    read = []

    def name(folder: Path) -> str:
        read.append(folder)
        return " ".join(sorted(path.read_text() for path in folder.glob("*.txt")))

    def count(folder: Path) -> str:
        return str(len(list(folder.glob("*.txt"))))

    first, second = write(tmp_path / "base" / "1.txt", b"one"), write(tmp_path / "base" / "2.txt", b"two")
    digests = open_cache(tmp_path)
    assert {digests.digest_folder(tmp_path / "base", name) for _ in range(3)} == {"one two"}
    assert digests.digest_folder(tmp_path / "base", count) == "2"
    digests.save()
    open_cache(tmp_path).save()
    digests = open_cache(tmp_path)
    assert (digests.digest_folder(tmp_path / "base", name), len(read)) == ("one two", 1)
    second.write_bytes(b"too")
    assert digests.digest_folder(tmp_path / "base", name) == "one too"
    first.rename(first.with_suffix(".bak"))
    assert digests.digest_folder(tmp_path / "base", name) == "too"
    assert open_cache(tmp_path, full_check=True).digest_folder(tmp_path / "base", name) == "too"
    assert open_cache(tmp_path).digest_folder(tmp_path / "base", count) == "1"
    assert len(read) == 4
