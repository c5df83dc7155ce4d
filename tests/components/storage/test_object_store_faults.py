"""A store behind a network that fails: calls wait for it and succeed, or give up with an error that says what to do."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flaky_proxy import FlakyProxy
from waiting import wait_until

from components.errors import WorkersError
from components.storage import remote_objects
from components.storage.object_store import ObjectStore

PART_BYTES = 5 * 2**20
"""The least that S3 takes."""
LARGE = os.urandom(2**20) * 11


@pytest.fixture
def store(proxy: FlakyProxy, s3_url: str) -> ObjectStore:
    return ObjectStore(s3_url, patience_s=60)


def use(store: ObjectStore, folder: Path) -> None:
    """Call every method once and check what it returns."""
    (folder / "source").write_bytes(b"source")
    store.write("a", b"x")
    assert store.read("a") == b"x"
    assert store.read("b") is None
    store.upload(folder / "source", "c/d")
    assert store.download("c/d", folder / "copy")
    assert (folder / "copy").read_bytes() == b"source"
    assert set(store.list_keys()) == {"a", "c/d"}
    store.delete("a", "c/d")
    assert store.list_keys() == {}


@pytest.mark.parametrize(
    "break_it",
    [
        lambda proxy: proxy.answer(503, "ServiceUnavailable", times=2),
        lambda proxy: proxy.answer(503, "SlowDown", times=2),
        lambda proxy: proxy.answer(500, "InternalError", times=2),
        lambda proxy: proxy.cut_answers(times=2),
        lambda proxy: proxy.cut_requests(times=2),
    ],
    ids=["503", "slow", "500", "cut-answers", "cut-requests"],
)
def test_a_short_fault_before_any_call_is_not_seen(
    store: ObjectStore, proxy: FlakyProxy, tmp_path: Path, break_it: Callable[[FlakyProxy], None]
) -> None:
    (tmp_path / "source").write_bytes(b"source")
    calls: list[Callable[[], object]] = [
        lambda: store.write("a", b"x"),
        lambda: store.read("a") == b"x",
        lambda: store.upload(tmp_path / "source", "b"),
        lambda: store.download("b", tmp_path / "copy"),
        lambda: set(store.list_keys()) == {"a", "b"},
        lambda: store.delete("a", "b"),
    ]
    for call in calls:
        break_it(proxy)
        assert call() in (None, True)
    assert (tmp_path / "copy").read_bytes() == b"source"
    proxy.pass_all()
    assert store.list_keys() == {}


def test_a_server_that_is_gone_for_a_while_is_waited_for(
    store: ObjectStore, proxy: FlakyProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.write("first", b"")
    store.delete("first")
    proxy.stop()
    timer = threading.Timer(1.0, proxy.start)
    timer.start()
    use(store, tmp_path)
    timer.join()
    proxy.answer(503, "ServiceUnavailable", times=4)
    assert store.read("a") is None
    (line,) = [line for line in caplog.messages if "503" in line]
    assert line.startswith("object storage does not answer, trying again for up to 60 s: wanted to read s3://")


def test_a_large_upload_goes_on_after_its_connections_were_cut(
    store: ObjectStore, proxy: FlakyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_objects, "_PART_BYTES", PART_BYTES)
    (tmp_path / "source").write_bytes(LARGE)
    thread = threading.Thread(target=store.upload, args=(tmp_path / "source", "large"))
    thread.start()
    wait_until(lambda: any("partNumber=2" in line for line in proxy.requests), "the second part")
    proxy.answer(503, "ServiceUnavailable", times=2)
    thread.join()
    proxy.cut_answers(times=1)
    assert store.download("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == LARGE


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(403, "AccessDenied", "docs/workers.md"), (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID")],
)
def test_a_refusal_is_told_at_once(
    store: ObjectStore, proxy: FlakyProxy, s3_url: str, tmp_path: Path, status: int, code: str, words: str
) -> None:
    (tmp_path / "source").write_bytes(b"source")
    proxy.answer(status, code)
    calls: list[Callable[[], object]] = [
        lambda: store.write("a", b"x"),
        lambda: store.read("a"),
        lambda: store.upload(tmp_path / "source", "b"),
        lambda: store.download("b", tmp_path / "copy"),
        store.list_keys,
        lambda: store.delete("a"),
        lambda: store.delete("a", "b"),
        store.check_writable,
    ]
    for call in calls:
        proxy.requests.clear()
        with pytest.raises(WorkersError, match=f"{s3_url}.*{status} {code}.*{words}"):
            call()
        assert len(proxy.requests) == 1


def test_patience_ends_with_an_error_that_names_the_store(proxy: FlakyProxy, s3_url: str) -> None:
    store = ObjectStore(s3_url, patience_s=0.3)
    proxy.answer(503, "ServiceUnavailable")
    with pytest.raises(WorkersError, match=f"{s3_url}/a; got 503 ServiceUnavailable.*check the store"):
        store.write("a", b"")
    proxy.stop()
    with pytest.raises(WorkersError, match=f"{s3_url}/a; got EndpointConnectionError"):
        store.read("a")
    proxy.start()
    assert store.read("a") is None


def test_a_download_that_never_comes_further_ends(proxy: FlakyProxy, s3_url: str, tmp_path: Path) -> None:
    store = ObjectStore(s3_url, patience_s=0.3)
    store.write("a", b"x" * 300_000)
    proxy.cut_answers()
    with pytest.raises(WorkersError, match=f"to read {s3_url}/a"):
        store.download("a", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_takes_nothing_and_answers_nothing_is_given_up(
    proxy: FlakyProxy, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_objects, "_ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(remote_objects, "_TRIES", 1)
    monkeypatch.setattr(remote_objects, "_PART_BYTES", PART_BYTES)
    (tmp_path / "source").write_bytes(LARGE)
    store = ObjectStore(s3_url, patience_s=0.3)
    calls: list[tuple[Callable[[], object], int]] = [
        (lambda: store.read("a"), 0),
        (store.list_keys, 0),
        (lambda: store.upload(tmp_path / "source", "a"), 0),
        (lambda: store.upload(tmp_path / "source", "a"), 1),
    ]
    for call, passed_writes in calls:
        proxy.stall(after_writes=passed_writes)
        with pytest.raises(WorkersError, match="check the store"):
            call()
