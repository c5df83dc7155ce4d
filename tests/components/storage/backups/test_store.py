"""The store of backups: on a disk and on S3; a backup is there once its manifest is."""

import hashlib

import pytest

from components.errors import BackupError
from components.storage.backups.manifest import BackupManifest, StoredFile, count_parts, format_listing
from components.storage.backups.store import find_damage, open_backups


def publish(store, backup_id, *contents):
    """Write a backup with one file for each content."""
    files = {}
    for content in contents:
        digest = hashlib.sha256(content).hexdigest()
        store.write_object(digest, content)
        files[f"workspace/{digest}"] = StoredFile(digest, len(content))
    listing = format_listing(files)
    name = hashlib.sha256(listing).hexdigest()
    store.write_object(name, listing)
    manifest = BackupManifest(
        id=backup_id,
        source="id",
        product_version="1",
        began_at="",
        ended_at="",
        listing=name,
        parts=count_parts(files),
        new_bytes=0,
        facts={},
    )
    store.publish(manifest)
    return manifest


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return open_backups(str(tmp_path / "with space"))
    server = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_backups(f"s3://{server.make_bucket()}/backups")


def test_backups_share_objects_and_a_removal_deletes_only_what_no_kept_one_names(store, tmp_path):
    assert store.find_newest() is None
    publish(store, "1", b"a", b"b")
    newest = publish(store, "2", b"b", b"c")
    assert store.list_ids() == ["1", "2"]
    assert store.find_newest() == newest
    assert len(store.list_objects()) == 5
    assert store.remove(["1"], [newest]) == 2
    assert store.list_ids() == ["2"]
    files = store.read_listing(newest)
    assert find_damage(store, [one.sha256 for one in files.values()], tmp_path) == {}
    assert {one.sha256 for one in files.values()} | {newest.listing} == store.list_objects()


def test_missing_and_damaged_objects_are_found_and_set_aside(store, tmp_path):
    good, bad, gone = (hashlib.sha256(content).hexdigest() for content in (b"good", b"bad", b"gone"))
    store.write_object(good, b"good")
    store.write_object(bad, b"bit")
    assert find_damage(store, [good, bad, gone], tmp_path) == {bad: "does not match its digest", gone: "is missing"}
    store.set_aside(bad, tmp_path)
    assert store.list_objects() == {good}
    assert not list(tmp_path.glob("*.damaged"))


def test_a_missing_or_damaged_listing_is_named(store):
    manifest = publish(store, "1", b"a")
    store.write_object(manifest.listing, b"x")
    with pytest.raises(BackupError, match="does not match its digest"):
        store.read_listing(manifest)
    store.delete_objects([manifest.listing])
    with pytest.raises(BackupError, match="no such object"):
        store.read_listing(manifest)
    with pytest.raises(BackupError, match=r"no such backup \(newest: 1\)"):
        store.read_manifest("2")


@pytest.mark.parametrize("target", ["s3://", "http://x/y", "s3://key:secret@bucket/x", "s3://b/../c"])
def test_a_target_that_is_no_folder_is_refused_without_its_secret(target):
    with pytest.raises(BackupError) as problem:
        open_backups(target)
    assert "secret" not in str(problem.value)
    assert "name a folder" in problem.value.fix
