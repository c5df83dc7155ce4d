"""Deliveries are fetched aside and placed at once; a file that changes meanwhile is left for later."""

import json

import pytest

from components.data import arrivals
from components.data.arrivals import (
    compute_delivery_digest,
    fetch_delivery,
    list_deliveries,
    list_fetched,
    place_delivery,
)
from components.storage.object_store import ObjectStore


def make_line(number):
    return json.dumps({"source": f"thing {number}", "references": [f"number {number}"]}) + "\n"


@pytest.fixture
def source(tmp_path):
    store = ObjectStore((tmp_path / "incoming").as_uri())
    store.write("alder/train.jsonl", (make_line(1) + make_line(2)).encode())
    return store


@pytest.fixture
def drops(tmp_path):
    return tmp_path / "drops"


def test_only_files_of_tenants_are_deliveries(source):
    for key in ("README", "Alder/train.jsonl", "alder/2026/train.jsonl", "alder/train.jsonl.tmp", "birch/test.jsonl"):
        source.write(key, b"")
    found, strays = list_deliveries(source)
    assert {tenant: list(files) for tenant, files in found.items()} == {
        "alder": ["train.jsonl"],
        "birch": ["test.jsonl"],
    }
    assert strays == ["Alder/train.jsonl", "README", "alder/2026/train.jsonl"]


def test_a_delivery_is_placed_as_it_was_written(source, drops):
    files = list_deliveries(source)[0]["alder"]
    folder = fetch_delivery(source, drops, "alder", files)
    assert [one[1:] for one in list_fetched(drops)] == [("alder", compute_delivery_digest(folder, files))]
    place_delivery(folder, drops / "alder")
    assert (drops / "alder" / "train.jsonl").read_text() == make_line(1) + make_line(2)
    assert list_fetched(drops) == []


@pytest.mark.parametrize("change", ["rewritten", "deleted"])
def test_a_file_that_changes_while_it_is_fetched_is_left(source, drops, monkeypatch, change):
    files = list_deliveries(source)[0]["alder"]
    download = source.download

    def change_after(key, path):
        done = download(key, path)
        if change == "rewritten":
            source.write(key, b"other")
        else:
            source.delete(key)
        return done

    monkeypatch.setattr(source, "download", change_after)
    assert fetch_delivery(source, drops, "alder", files) is None
    assert list_fetched(drops) == []


def test_the_digest_is_that_of_names_times_and_contents(source, drops, tmp_path):
    files = list_deliveries(source)[0]["alder"]
    folder = fetch_delivery(source, drops, "alder", files)
    digest = compute_delivery_digest(folder, files)
    assert digest == compute_delivery_digest(folder, dict(files))
    assert digest != compute_delivery_digest(folder, {"train.jsonl": "2026-01-01T00:00:00+00:00"})
    (folder / "train.jsonl").write_text("other")
    assert digest != compute_delivery_digest(folder, files)


def test_placing_beside_a_drop_that_waits_adds_new_lines_only_and_can_be_repeated(source, drops):
    waiting = drops / "alder"
    waiting.mkdir(parents=True)
    (waiting / "train.jsonl").write_text(make_line(2) + make_line(3).rstrip())
    source.write("alder/test.jsonl", make_line(4).encode())
    files = list_deliveries(source)[0]["alder"]
    for _ in range(2):  # as after a kill at the end of the first
        place_delivery(fetch_delivery(source, drops, "alder", files), waiting)
        assert (waiting / "train.jsonl").read_text() == make_line(2) + make_line(3) + make_line(1)
        assert (waiting / "test.jsonl").read_text() == make_line(4)
    assert sorted(path.name for path in waiting.iterdir()) == ["test.jsonl", "train.jsonl"]


def test_what_a_killed_fetch_left_is_removed(source, drops):
    half = drops / arrivals.ARRIVING_FOLDER / "alder.fetching"
    half.mkdir(parents=True)
    (half / "train.jsonl").write_text("half")
    assert list_fetched(drops) == []
    assert not half.exists()
