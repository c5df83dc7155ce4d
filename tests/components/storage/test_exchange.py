"""Sets of files pass through the exchange whole, verified, and never out of the folder they are put into."""

import json
import os
import resource
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.errors import DamagedError, WorkersError, WorkspaceError
from components.storage import set_files
from components.storage.exchange import Exchange, ExchangeFolder
from components.storage.object_store import ObjectStore
from components.storage.set_listing import parse_listing

HOUR_S = 3600
Files = dict[str, bytes]


def write_files(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read_files(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(folder: ExchangeFolder, name: str, source: Path, files: Files) -> None:
    folder.put(name, write_files(source, files), files)


@pytest.fixture
def folder(store: ObjectStore) -> ExchangeFolder:
    return Exchange(store).open("tenants", "alder", "0123abcd")


@pytest.fixture
def local(tmp_path: Path) -> ObjectStore:
    return ObjectStore((tmp_path / "store").as_uri())


@pytest.fixture
def local_folder(local: ObjectStore) -> ExchangeFolder:
    return Exchange(local).open("tenants", "alder", "0123abcd")


def find_objects(root: Path) -> list[Path]:
    return sorted(path for path in (root / "store").rglob("*") if len(path.name) == 64)


def test_a_set_is_put_replaced_and_removed(folder: ExchangeFolder, store: ObjectStore, tmp_path: Path) -> None:
    assert not folder.has("state")
    assert not folder.fetch("state", tmp_path / "none")
    files = {"state.json": b"{}", "deep/er/tensors": os.urandom(2**20 + 1), "same": b"{}", "empty": b""}
    put(folder, "state", tmp_path / "source", files)
    assert folder.has("state")
    assert folder.fetch("state", tmp_path / "first")
    assert read_files(tmp_path / "first") == files
    put(folder, "state", tmp_path / "source", {"state.json": b"[]"})
    assert folder.fetch("state", tmp_path / "second")
    assert read_files(tmp_path / "second") == {"state.json": b"[]"}
    assert len(store.list_keys()) == 2
    put(folder, "trained", tmp_path / "source", files)
    folder.put_json("outcomes", [1])
    folder.remove()
    assert store.list_keys() == {}
    assert not folder.has("state")


def test_sets_and_folders_do_not_mix(folder: ExchangeFolder, store: ObjectStore, tmp_path: Path) -> None:
    other = Exchange(store).open("tenants", "alder", "0123abcde")
    put(folder, "state", tmp_path / "source", {"a": b"state"})
    put(folder, "state-2", tmp_path / "source", {"a": b"state-2"})
    put(other, "state", tmp_path / "source", {"a": b"other"})
    folder.put("state", tmp_path, [])
    for each, name, files in ((folder, "state", {}), (folder, "state-2", {"a": b"state-2"})):
        assert each.fetch(name, tmp_path / name)
        assert read_files(tmp_path / name) == files
    folder.remove()
    assert other.fetch("state", tmp_path / "other")
    assert read_files(tmp_path / "other") == {"a": b"other"}


def test_json_values(folder: ExchangeFolder) -> None:
    assert folder.get_json("heartbeat") is None
    for value in ({"counter": 1, "steps": {"alder": 3.5}}, [], None, "text"):
        folder.put_json("heartbeat", value)
        assert folder.get_json("heartbeat") == value


@pytest.fixture
def some_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack only files of a few bytes."""
    monkeypatch.setattr(set_files, "_PACKED_BYTES", 8)
    monkeypatch.setattr(set_files, "_PACK_BYTES", 20)


@pytest.mark.usefixtures("some_packed")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.from_regex(r"[ab]{1,2}(/[cd.]x){0,2}", fullmatch=True), st.binary(max_size=40), max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_any_sets_put_one_after_another_give_the_last(
    tmp_path_factory: pytest.TempPathFactory, sets: list[Files]
) -> None:
    root = tmp_path_factory.mktemp("sets")
    folder = Exchange(ObjectStore((root / "store").as_uri())).open("shards", "1")
    last: Files = {}
    for number, names in enumerate(sets):
        last = {name: content for name, content in names.items() if not any(n.startswith(f"{name}/") for n in names)}
        put(folder, "state", root / f"source-{number}", last)
        assert folder.fetch("state", root / f"copy-{number}")
        assert read_files(root / f"copy-{number}") == last
    (listing,) = (root / "store").rglob("listing.json")
    objects = parse_listing(listing.read_bytes()).objects
    assert [path.relative_to(listing.parent).as_posix() for path in find_objects(root)] == objects


def test_files_that_are_there_are_not_fetched_and_others_are_left(local_folder: ExchangeFolder, tmp_path: Path) -> None:
    put(local_folder, "state", tmp_path / "source", {"a": b"aaa", "b": b"bbb"})
    write_files(tmp_path / "copy", {"a": b"aaa", "b": b"old", "mine": b"1"})
    before = (tmp_path / "copy" / "a").stat()
    (tmp_path / "copy" / "b").unlink()
    (tmp_path / "copy" / "b").symlink_to(tmp_path / "source" / "b")
    assert local_folder.fetch("state", tmp_path / "copy")
    assert (tmp_path / "copy" / "a").stat() == before
    assert not (tmp_path / "copy" / "b").is_symlink()
    assert read_files(tmp_path / "copy") == {"a": b"aaa", "b": b"bbb", "mine": b"1"}
    for path in find_objects(tmp_path):
        path.unlink()
    assert local_folder.fetch("state", tmp_path / "copy")


@pytest.mark.parametrize("packed_bytes", [0, 100])
@pytest.mark.parametrize("damage", ["missing", "altered", "cut", "listing"])
def test_a_damaged_set_is_told_and_places_nothing(
    local_folder: ExchangeFolder, tmp_path: Path, damage: str, packed_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_files, "_PACKED_BYTES", packed_bytes)
    put(local_folder, "state", tmp_path / "source", {"a": b"aaa", "b": b"bbb"})
    victim = find_objects(tmp_path)[0]
    if damage == "missing":
        victim.unlink()
    elif damage == "listing":
        (victim.parents[1] / "listing.json").write_bytes(b"{}")
    else:
        victim.write_bytes(b"xxx" if damage == "altered" else b"a")
    write_files(tmp_path / "copy", {"a": b"old"})
    with pytest.raises(DamagedError, match="make the set again"):
        local_folder.fetch("state", tmp_path / "copy")
    assert read_files(tmp_path / "copy").get("a") == b"old"
    assert "b" not in read_files(tmp_path / "copy")
    assert local_folder.has("state") == (damage in ("altered", "cut"))
    put(local_folder, "state", tmp_path / "source", {"a": b"aaa", "b": b"bbb"})
    assert local_folder.fetch("state", tmp_path / "copy")
    assert read_files(tmp_path / "copy") == {"a": b"aaa", "b": b"bbb"}


def test_a_damaged_value_is_told(local: ObjectStore, local_folder: ExchangeFolder) -> None:
    local.write("tenants/alder/0123abcd/request.json", b"{")
    with pytest.raises(DamagedError, match=r"JSON in file://.*/request.json"):
        local_folder.get_json("request")


def test_a_pack_whose_parts_are_altered_is_told(
    local: ObjectStore, local_folder: ExchangeFolder, tmp_path: Path
) -> None:
    put(local_folder, "state", tmp_path / "source", {"a": b"aaa", "b": b"bbb"})
    key = "tenants/alder/0123abcd/state/listing.json"
    listing = json.loads(local.read(key) or b"")
    listing["files"]["b"]["offset"] = 2
    local.write(key, json.dumps(listing).encode())
    with pytest.raises(DamagedError, match="a file in it that does not match its digest"):
        local_folder.fetch("state", tmp_path / "copy")
    assert not {"a", "b"} & set(read_files(tmp_path / "copy"))


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", ".incoming-state/a"])
def test_a_name_in_a_listing_cannot_lead_out(
    local: ObjectStore, local_folder: ExchangeFolder, tmp_path: Path, name: str
) -> None:
    put(local_folder, "state", tmp_path / "source", {"a": b"aaa"})
    key = "tenants/alder/0123abcd/state/listing.json"
    listing = json.loads(local.read(key) or b"")
    listing["files"] = {name: listing["files"]["a"]}
    local.write(key, json.dumps(listing).encode())
    with pytest.raises(DamagedError, match="file name"):
        local_folder.fetch("state", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert not list(tmp_path.rglob("escaped"))


def test_a_link_in_the_folder_cannot_lead_out(local_folder: ExchangeFolder, tmp_path: Path) -> None:
    put(local_folder, "state", tmp_path / "source", {"inner/a": b"aaa"})
    for name in ("copy", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "copy" / "inner").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "copy" / ".incoming-state").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkersError, match="a link that leads out of the folder"):
        local_folder.fetch("state", tmp_path / "copy")
    (tmp_path / "copy" / "inner").unlink()
    assert local_folder.fetch("state", tmp_path / "copy")
    assert read_files(tmp_path / "copy") == {"inner/a": b"aaa"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", ".a", "a b", "-a"])
def test_odd_names_of_folders_sets_and_files_are_refused(local: ObjectStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkersError, match="a name in the exchange"):
        Exchange(local).open("tenants", name)
    for call in (local.read, Exchange(local).open("a").has, Exchange(local).open("a").get_json):
        with pytest.raises(WorkersError, match="wanted a"):
            call(f"{name}/..")
    with pytest.raises(WorkersError, match="rename the file"):
        Exchange(local).open("a").put("state", tmp_path, ["../a"])


def test_a_missing_file_is_named_and_the_former_set_stays(local_folder: ExchangeFolder, tmp_path: Path) -> None:
    put(local_folder, "state", tmp_path / "source", {"a": b"aaa"})
    with pytest.raises(WorkspaceError, match="missing"):
        local_folder.put("state", tmp_path / "source", ["a", "missing"])
    assert local_folder.fetch("state", tmp_path / "copy")
    assert read_files(tmp_path / "copy") == {"a": b"aaa"}


def test_a_full_disk_places_nothing_and_a_later_fetch_goes_on(local_folder: ExchangeFolder, tmp_path: Path) -> None:
    files = {"small": b"1", "large": b"x" * 100_000}
    put(local_folder, "state", tmp_path / "source", files)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WorkspaceError, match="File too large"):
            local_folder.fetch("state", tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not {"small", "large"} & set(read_files(tmp_path / "copy"))
    assert local_folder.fetch("state", tmp_path / "copy")
    assert read_files(tmp_path / "copy") == files


def make_old(root: Path, hours: float) -> None:
    """Let all objects below a folder have been written some hours ago."""
    for path in root.rglob("*"):
        if path.is_file():
            moment = path.stat().st_mtime - hours * HOUR_S
            os.utime(path, (moment, moment))


def test_folders_to_which_nothing_was_written_are_removed(local: ObjectStore, tmp_path: Path) -> None:
    exchange = Exchange(local)
    for parts in (("tenants", "alder", "old"), ("shards", "old"), ("bases", "old"), ("tenants", "alder", "both")):
        put(exchange.open(*parts), "files", tmp_path / "source", {"a": b"aaa"})
        exchange.open(*parts).put_json("value", 1)
    make_old(tmp_path / "store", 73)
    for parts in (("tenants", "alder", "new"), ("shards", "new"), ("tenants", "alder", "both")):
        exchange.open(*parts).put_json("other", 1)
    assert sorted(one.key for one in exchange.remove_unused(3.1)) == []
    assert sorted(one.key for one in exchange.remove_unused(3)) == ["shards/old", "tenants/alder/old"]
    left = {key.rsplit("/", 1)[0] for key in local.list_keys() if key.endswith("value.json")}
    assert left == {"bases/old", "tenants/alder/both"}
    assert exchange.open("bases", "old").fetch("files", tmp_path / "copy")
    assert not (tmp_path / "store" / "shards" / "old").exists()


def test_a_machine_whose_clock_is_wrong_removes_the_same(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(store)
    put(exchange.open("shards", "1"), "files", tmp_path / "source", {"a": b"aaa"})
    now = store.read_clock()
    monkeypatch.setattr(store, "read_clock", lambda: now + timedelta(hours=25))
    assert [one.key for one in exchange.remove_unused(1.1)] == []
    assert [one.key for one in exchange.remove_unused(1)] == ["shards/1"]
    assert store.list_keys() == {}


def test_what_dead_writers_left_is_removed_after_a_day(local: ObjectStore, tmp_path: Path) -> None:
    exchange, dead = Exchange(local), "0" * 16
    for parts in (("bases", "1"), ("tenants", "alder", "1")):
        put(exchange.open(*parts), "files", tmp_path / "source", {"a": b"aaa"})
        local.write("/".join([*parts, "files", dead, "0" * 64]), b"")
        local.write("/".join([*parts, "never", dead, "0" * 64]), b"")
    (tmp_path / "store" / ".temporary" / "dead").touch()
    make_old(tmp_path / "store", 23)
    exchange.remove_unused(5)
    assert len([key for key in local.list_keys() if dead in key]) == 4
    make_old(tmp_path / "store", 2)
    exchange.remove_unused(5)
    assert not [key for key in local.list_keys() if dead in key]
    assert list((tmp_path / "store" / ".temporary").iterdir()) == []
    for parts in (("bases", "1"), ("tenants", "alder", "1")):
        assert exchange.open(*parts).fetch("files", tmp_path / "copy")
