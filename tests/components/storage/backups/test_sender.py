"""Copying into a store of backups: each content once, read back, and a file that changes or goes is noticed."""

import hashlib

import pytest

from components.errors import BackupError, WorkspaceError
from components.storage.backups import sender as module
from components.storage.backups.sender import FileSource, Sender
from components.storage.backups.store import open_backups


def digest_file(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


@pytest.fixture
def store(tmp_path):
    return open_backups(str(tmp_path / "store"))


@pytest.fixture
def make_sender(store, tmp_path):
    (tmp_path / "scratch").mkdir()
    return lambda former=(), digest=digest_file: Sender(store, dict(former), digest, tmp_path / "scratch")


@pytest.fixture
def sources(tmp_path):
    for name, content in (("one", b"1"), ("same", b"1"), ("two", b"22"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
    return [FileSource(f"workspace/{name}", tmp_path / name) for name in ("one", "same", "two", "empty")]


def test_equal_content_is_one_object_and_is_not_written_again(make_sender, store, sources):
    first = make_sender()
    first.send(sources)
    first.check()
    assert len(store.list_objects()) == 3
    assert first.new_bytes == 3
    second = make_sender(first.files)
    second.send(sources)
    second.check()
    assert (second.files, second.new_bytes) == (first.files, 0)


def test_a_constant_file_is_not_read_again(make_sender, sources):
    first = make_sender()
    first.send(sources)
    read = []
    second = make_sender(first.files, lambda path: read.append(path) or digest_file(path))
    second.send(FileSource(one.name, one.path, is_constant=True) for one in sources)
    assert read == []
    assert second.files == first.files


def test_a_list_that_begins_again_has_only_what_is_still_there(make_sender, sources):
    sender = make_sender()
    sender.send(FileSource(one.name, one.path, is_constant=True) for one in sources)
    before = sender.new_bytes
    sender.list_again()
    sender.send([FileSource(sources[0].name, sources[0].path, is_constant=True)])
    sender.check()
    assert (sender.files.keys(), sender.new_bytes) == ({"workspace/one"}, before)


def test_what_is_only_elsewhere_is_fetched_once(make_sender, tmp_path):
    calls = []

    def fetch(path):
        calls.append(path)
        path.write_bytes(b"far")

    source = FileSource("artifacts/x", tmp_path, fetch=fetch, is_constant=True)
    first = make_sender()
    first.send([source])
    make_sender(first.files).send([source])
    assert first.files["artifacts/x"].size == 3
    assert len(calls) == 1
    assert not calls[0].exists()


def test_a_removed_file_is_left_out_only_where_that_may_happen(make_sender, tmp_path):
    sender = make_sender()
    sender.send([FileSource("drops/x", tmp_path / "gone", may_vanish=True)])
    assert sender.files == {}
    with pytest.raises(WorkspaceError, match="removed meanwhile"):
        sender.send([FileSource("out/x", tmp_path / "gone")])


def test_a_large_file_that_changes_all_the_time_leaves_no_wrong_object(make_sender, store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 0)
    path = tmp_path / "growing"
    path.write_bytes(b"x")

    def digest_and_grow(path):
        digest = digest_file(path)
        path.write_bytes(path.read_bytes() + b"x")
        return digest

    with pytest.raises(WorkspaceError, match="changes all the time"):
        make_sender(digest=digest_and_grow).send([FileSource("drops/x", path)])
    assert store.list_objects() == set()


def test_an_object_that_an_earlier_run_left_damaged_is_found_removed_and_written_again(
    make_sender, store, sources, tmp_path
):
    make_sender().send(sources)
    digest = digest_file(tmp_path / "two")
    (tmp_path / "store" / "objects" / digest[:2] / digest).write_bytes(b"2x")
    sender = make_sender()
    sender.send(sources)
    with pytest.raises(BackupError, match="0 missing and 1 damaged"):
        sender.check()
    again = make_sender()
    again.send(sources)
    again.check()
    assert digest in store.list_objects()
