"""Objects in every kind of store: written whole, read back, listed freshly; used by threads and forked processes."""

import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from s3_server import PAGE_KEYS, S3Server

from components.errors import WorkersError, WorkspaceError
from components.storage import remote_objects
from components.storage.object_store import ObjectStore


def test_an_object_is_written_read_replaced_and_deleted(store: ObjectStore) -> None:
    assert store.read("a/b.json") is None
    store.write("a/b.json", b"old")
    store.write("a/b.json", b"")
    assert store.read("a/b.json") == b""
    store.delete("a/b.json", "a/other", "c")
    store.delete("a/b.json")
    store.delete()
    assert store.read("a/b.json") is None
    assert store.list_keys() == {}


def test_files_go_up_and_down(store: ObjectStore, tmp_path: Path) -> None:
    content = os.urandom(1000)
    (tmp_path / "source").write_bytes(content)
    store.upload(tmp_path / "source", "a/b")
    assert store.download("a/b", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == content
    assert not store.download("a/c", tmp_path / "deep" / "other")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["copy"]


def test_a_large_file_goes_in_parts(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_objects, "_PART_BYTES", 5 * 2**20)  # the least that S3 takes
    content = os.urandom(2**20) * 11
    (tmp_path / "source").write_bytes(content)
    store.upload(tmp_path / "source", "large")
    assert store.download("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_a_file_that_cannot_be_read_is_named(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="No such file"):
        store.upload(tmp_path / "missing", "a")
    assert store.list_keys() == {}


def test_listings_are_fresh_and_begin_with_the_text(store: ObjectStore) -> None:
    for key in ("tenants/a/1", "tenants/ab/1", "shards/1"):
        store.write(key, b"x")
        assert key in store.list_keys()
    assert set(store.list_keys("tenants/")) == {"tenants/a/1", "tenants/ab/1"}
    assert set(store.list_keys("tenants/a")) == {"tenants/a/1", "tenants/ab/1"}
    assert set(store.list_keys("tenants/a/")) == {"tenants/a/1"}
    assert store.list_keys("none/") == {}
    store.delete("shards/1")
    assert set(store.list_keys()) == {"tenants/a/1", "tenants/ab/1"}


def test_the_store_has_a_clock(store: ObjectStore) -> None:
    store.write("a", b"")
    written, now = store.list_keys()["a"], store.read_clock()
    assert timedelta(0) <= now - written < timedelta(hours=1)
    assert abs(now - datetime.now(UTC)) < timedelta(hours=1)
    assert set(store.list_keys()) == {"a"}


def test_a_usable_store_is_left_as_it_was(store: ObjectStore) -> None:
    store.check_writable()
    assert store.list_keys() == {}


@pytest.mark.parametrize("key", ["../a", "/a", "a b", ""])
def test_odd_keys_are_refused_by_every_method(store: ObjectStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()
    calls = [
        lambda: store.write(key, b""),
        lambda: store.read(key),
        lambda: store.upload(tmp_path / "file", key),
        lambda: store.download(key, tmp_path / "copy"),
        lambda: store.delete("good", key),
    ]
    for call in calls:
        with pytest.raises(WorkersError, match="wanted a key"):
            call()


def test_threads_share_a_store(store: ObjectStore) -> None:
    def use(number: int) -> bytes | None:
        store.write(f"a/{number}", str(number).encode())
        return store.read(f"a/{number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(40))) == [str(number).encode() for number in range(40)]
    assert len(store.list_keys("a/")) == 40


def test_a_forked_process_uses_the_store_of_its_parent(store: ObjectStore) -> None:
    store.write("a", b"parent")
    child = os.fork()
    if not child:
        try:
            store.write("b", store.read("a") + b"'s child")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read("b") == b"parent's child"
    store.delete("a")


def test_a_reader_never_sees_a_part(store: ObjectStore) -> None:
    contents = [bytes([number]) * 200_000 for number in (1, 2)]
    store.write("a", contents[0])
    done = threading.Event()

    def write() -> None:
        for number in range(20):
            store.write("a", contents[number % 2])
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        while not done.is_set() and not writer.done():
            assert store.read("a") in contents
        writer.result()


def test_a_full_disk_during_a_download_leaves_the_old_file(store: ObjectStore, tmp_path: Path) -> None:
    store.write("a", b"x" * 100_000)
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "copy").write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WorkspaceError, match=r"to write .*copy; got File too large; free space"):
            store.download("a", tmp_path / "copies" / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.read_bytes() for path in (tmp_path / "copies").iterdir()] == [b"old"]


def test_a_full_disk_of_the_store_leaves_the_old_object(tmp_path: Path) -> None:
    store = ObjectStore((tmp_path / "store").as_uri())
    store.write("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WorkersError, match=r"to write file://.*/a; got File too large; free space"):
            store.write("a", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.read("a") == b"old"


def test_a_listing_of_more_than_one_page(s3: S3Server, s3_url: str) -> None:
    client, (bucket, folder) = s3.make_client(), s3_url.removeprefix("s3://").split("/")
    for number in range(PAGE_KEYS + 5):
        client.put_object(Bucket=bucket, Key=f"{folder}/a/{number}", Body=b"")
    store = ObjectStore(s3_url)
    assert len(store.list_keys("a/")) == PAGE_KEYS + 5
    store.delete(*store.list_keys())
    assert store.list_keys() == {}


def test_objects_with_names_of_others_are_left_out_of_listings(s3: S3Server, s3_url: str) -> None:
    client, (bucket, folder) = s3.make_client(), s3_url.removeprefix("s3://").split("/")
    for key in (f"{folder}/good", f"{folder}/", f"{folder}/a/../b", f"{folder}/a b", f"{folder}-other/c", f"{folder}x"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert set(ObjectStore(s3_url).list_keys()) == {"good"}


def test_a_whole_bucket_can_be_the_store(s3: S3Server, s3_url: str) -> None:
    store = ObjectStore(s3_url.removesuffix("/night"))
    store.check_writable()
    store.write("a/b", b"x")
    assert set(store.list_keys()) == {"a/b"}


def test_the_endpoint_may_be_set_for_all_services(s3: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    ObjectStore(s3_url).check_writable()


def test_a_bucket_that_does_not_exist_is_an_error_of_every_method(s3_url: str, tmp_path: Path) -> None:
    store = ObjectStore("s3://no-such-bucket/night")
    (tmp_path / "file").touch()
    calls = [
        lambda: store.write("a", b""),
        lambda: store.read("a"),
        lambda: store.upload(tmp_path / "file", "a"),
        lambda: store.download("a", tmp_path / "copy"),
        lambda: store.delete("a"),
        store.list_keys,
        store.check_writable,
    ]
    for call in calls:
        with pytest.raises(WorkersError, match=r"s3://no-such-bucket/night.*NoSuchBucket.*create the bucket"):
            call()


def test_a_machine_without_keys_is_told_so(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(WorkersError, match="set AWS_ACCESS_KEY_ID"):
        ObjectStore(s3_url).check_writable()


def test_a_folder_that_cannot_be_written_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkersError, match="to write file://"):
        ObjectStore((tmp_path / "file" / "store").as_uri()).check_writable()


def test_a_key_below_an_object_is_an_error_in_a_folder(tmp_path: Path) -> None:
    store = ObjectStore((tmp_path / "store").as_uri())
    store.write("a", b"")
    for key in ("a/b", "a/b/c"):
        with pytest.raises(WorkersError, match="to write"):
            store.write(key, b"")
    assert store.read("a/b") is None
    assert set(store.list_keys()) == {"a"}


def test_what_killed_writers_left_in_a_folder_is_not_listed_and_removed_later(tmp_path: Path) -> None:
    store = ObjectStore((tmp_path / "store").as_uri())
    store.write("a", b"")
    left = tmp_path / "store" / ".temporary" / "0123"
    left.write_bytes(b"half")
    assert set(store.list_keys()) == {"a"}
    store.delete_leftovers(store.read_clock() - timedelta(hours=1))
    assert left.exists()
    store.delete_leftovers(store.read_clock() + timedelta(hours=1))
    assert not left.exists()


def test_google_without_its_package_says_what_to_install() -> None:
    code = "import sys; sys.modules['gcsfs'] = None; from components.storage.object_store import ObjectStore\n"
    code += "ObjectStore('gs://bucket/night').read('a')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "install the package that it names (gs:// needs gcsfs)" in done.stderr
