"""Several writers of one set, and writers that are killed: a reader gets one writer's set whole."""

import os
import random
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flaky_proxy import FlakyProxy
from forked_process import PROJECT, start_process
from waiting import wait_until

from components.errors import DamagedError, WorkersError
from components.storage import set_files
from components.storage.exchange import Exchange, ExchangeFolder
from components.storage.object_store import ObjectStore
from components.storage.set_listing import LISTING

NAMES = ("a", "b", "deep/c")
LISTING_KEY = f"shards/1/state/{LISTING}"
WRITER = """
import sys
from pathlib import Path
from components.storage.exchange import Exchange
from components.storage.object_store import ObjectStore

folder = Exchange(ObjectStore(sys.argv[1])).open("shards", "1")
while True:
    folder.put("state", Path(sys.argv[2]), ["a", "b", "deep/c"])
"""


def write_set(folder: Path, text: str) -> Path:
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of {text}")
    return folder


def read_writer(folder: Path) -> str:
    """The writer of a set whose files all come from one writer."""
    (text,) = {(folder / name).read_text().partition(" of ")[2] for name in NAMES}
    return text


@pytest.fixture
def folder(store: ObjectStore) -> ExchangeFolder:
    return Exchange(store).open("shards", "1")


@pytest.fixture(autouse=True)
def no_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send each file as an object of its own; the writers in processes of their own send packs."""
    monkeypatch.setattr(set_files, "_PACKED_BYTES", 0)


def test_writers_at_once_leave_one_whole_set(folder: ExchangeFolder, store: ObjectStore, tmp_path: Path) -> None:
    sources = {str(number): write_set(tmp_path / f"source-{number}", str(number)) for number in range(4)}
    done = threading.Event()

    def write(source: Path) -> None:
        for _ in range(4):
            folder.put("state", source, NAMES)

    def read() -> int:
        count = 0
        while not done.is_set():
            target = tmp_path / "copies" / str(count)
            try:
                if folder.fetch("state", target):
                    assert read_writer(target) in sources
                    count += 1
            except DamagedError:  # replaced each time while it was read
                assert not (target / "a").exists()
        return count

    with ThreadPoolExecutor(5) as pool:
        reader, writers = pool.submit(read), [pool.submit(write, source) for source in sources.values()]
        for writer in writers:
            writer.result()
        done.set()
        reader.result()
    assert folder.fetch("state", tmp_path / "last")
    assert read_writer(tmp_path / "last") in sources


def test_a_slow_writer_does_not_break_the_set_of_a_faster_one(
    folder: ExchangeFolder, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("state", write_set(tmp_path / "first", "first"), NAMES)
    slow = ObjectStore(store.url)
    write, sources = slow.write, [write_set(tmp_path / name, name) for name in ("fast", "slow")]

    def write_after_the_other(key: str, content: bytes) -> None:
        folder.put("state", sources[0], NAMES)
        assert folder.fetch("state", tmp_path / "copy")
        assert read_writer(tmp_path / "copy") == "fast"
        write(key, content)

    monkeypatch.setattr(slow, "write", write_after_the_other)
    Exchange(slow).open("shards", "1").put("state", sources[1], NAMES)
    assert folder.fetch("state", tmp_path / "copy")
    assert read_writer(tmp_path / "copy") == "slow"


def test_a_set_that_is_replaced_during_a_fetch_is_read_again(
    folder: ExchangeFolder, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("state", write_set(tmp_path / "old", "old"), NAMES)
    slow = ObjectStore(store.url)
    download, new = slow.download, write_set(tmp_path / "new", "new")
    replaced = threading.Event()

    def replace_first(key: str, path: Path) -> bool:
        if not replaced.is_set():
            replaced.set()
            folder.put("state", new, NAMES)
        return download(key, path)

    monkeypatch.setattr(slow, "download", replace_first)
    monkeypatch.setattr(set_files, "_THREADS", 1)
    assert Exchange(slow).open("shards", "1").fetch("state", tmp_path / "copy")
    assert read_writer(tmp_path / "copy") == "new"
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"a", "b", "deep"}


@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_moment_leaves_a_whole_set(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = (tmp_path / "store").as_uri() if kind == "file" else request.getfixturevalue("s3_url")
    store, source = ObjectStore(url), write_set(tmp_path / "source", "killed")
    folder = Exchange(store).open("shards", "1")
    folder.put("state", write_set(tmp_path / "first", "first"), NAMES)
    chance = random.Random(0)
    for number in range(2):
        process = start_process([sys.executable, "-c", WRITER, url, str(source)], PROJECT, dict(os.environ))
        before = store.read(LISTING_KEY)
        wait_until(lambda before=before: store.read(LISTING_KEY) != before, "the first set of the writer")
        for _ in range(chance.randrange(5)):
            store.read(LISTING_KEY)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.fetch("state", tmp_path / f"copy-{number}")
        assert read_writer(tmp_path / f"copy-{number}") == "killed"
    folder.put("state", write_set(tmp_path / "last", "last"), NAMES)
    assert folder.fetch("state", tmp_path / "copy")
    assert read_writer(tmp_path / "copy") == "last"


@pytest.mark.parametrize("writes", range(4))
def test_a_put_that_the_store_refuses_at_any_write_leaves_the_former_set(
    writes: int, proxy: FlakyProxy, s3_url: str, tmp_path: Path
) -> None:
    folder = Exchange(ObjectStore(s3_url)).open("shards", "1")
    folder.put("state", write_set(tmp_path / "first", "first"), NAMES)
    proxy.answer(403, "AccessDenied", after_writes=writes)
    with pytest.raises(WorkersError, match="AccessDenied"):
        folder.put("state", write_set(tmp_path / "second", "second"), NAMES)
    proxy.pass_all()
    assert folder.fetch("state", tmp_path / "copy")
    assert read_writer(tmp_path / "copy") == "first"
