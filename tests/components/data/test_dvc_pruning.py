"""Objects in a real DVC cache and remote, on a disk and in S3: what goes, what stays, and a removal that is killed."""

import json
import os
import shutil
import time

import pytest
from workspaces import write_tenant

from components.data import dvc, dvc_pruning
from components.data.digests import read_dataset_version
from components.data.dvc_objects import open_stores
from components.data.dvc_pruning import JOURNAL, KeptObjects, mark_remote, prune_objects
from components.errors import WorkspaceError

DAY_S = 86_400.0


class Store:
    """A checkout whose data/ has had three versions, each sent to the remote."""

    def __init__(self, root, versions):
        self.root, self.versions = root, versions

    def list_objects(self):
        with open_stores(self.root) as stores:
            return {store.name.split()[1]: set(store.object_db.all()) for store in stores}

    def list_files(self, version):
        path = self.root / ".dvc/cache/files/md5" / version[:2] / version[2:]
        return {entry["md5"] for entry in json.loads(path.read_bytes())}

    def make_old(self, days=10):
        for folder in (self.root / ".dvc/cache", self.root.parent / "remote"):
            for path in folder.rglob("*"):
                os.utime(path, (time.time() - days * DAY_S,) * 2)

    def prune(self, place="remote", days=5, **more):
        kept = KeptObjects(needed={self.versions[2]}, known=set(self.versions), days=days)
        return prune_objects(self.root, place, "me", kept, **more)


@pytest.fixture(scope="module")
def template(make_checkout_in, tmp_path_factory):
    """The folder with a checkout and its remote, and the three versions."""
    root = make_checkout_in(tmp_path_factory.mktemp("pruning"), ("alder", "birch"))
    versions = [read_dataset_version(root / "data.dvc")]
    dvc.push(root)
    for start in (100, 200):
        write_tenant(root / "data", "alder", start)
        versions.append(dvc.add_data(root))
        dvc.push(root)
    return root.parent, versions


@pytest.fixture
def store(template, tmp_path):
    """A copy of it, in which all objects are ten days old."""
    folder, versions = template
    root = tmp_path / "workspace"
    for name in ("workspace", "remote"):
        shutil.copytree(folder / name, tmp_path / name, symlinks=True)
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(folder / "remote"), str(tmp_path / "remote")))
    made = Store(root, versions)
    made.make_old()
    return made


def test_old_versions_go_from_both_stores_and_the_present_one_can_be_pulled(store, run_in):
    first, second, third = map(store.list_files, store.versions)
    shared = first & second & third
    assert len(shared) == 3
    before = store.list_objects()
    planned = store.prune(dry_run=True)
    assert store.list_objects() == before
    assert store.prune() == planned
    gone = (first | second) - third | set(store.versions[:2])
    assert {one.name: one.objects for one in planned} == {"DVC remote local": len(gone), "DVC cache": len(gone)}
    assert store.list_objects() == {name: objects - gone for name, objects in before.items()}
    assert store.prune() == []
    run_in(store.root, "rm", "-r", "data", ".dvc/cache")
    dvc.pull(store.root)
    assert dvc.is_clean(store.root)


def test_young_objects_and_those_of_others_stay(store):
    before = store.list_objects()
    assert store.prune(days=11) == []
    strange = store.root.parent / "remote/files/md5" / "ab"
    strange.mkdir(exist_ok=True)
    (strange / f"{'c' * 30}.dir").write_text(
        json.dumps([{"md5": name, "relpath": "x"} for name in store.list_files(store.versions[0])])
    )
    store.prune()
    assert store.list_files(store.versions[2]) | {store.versions[2]} <= store.list_objects()["remote"]
    assert store.list_objects()["remote"] >= (before["remote"] & _read_names(strange))


def _read_names(folder):
    (path,) = folder.glob("*.dir")
    return {entry["md5"] for entry in json.loads(path.read_text())}


def test_a_remote_of_several_workspaces_is_refused_and_the_cache_is_not(store):
    mark_remote(store.root, "another")
    before = store.list_objects()
    for dry_run in (True, False):
        with pytest.raises(WorkspaceError, match=r"this workspace alone uses .*another.json.* delete its mark"):
            store.prune(dry_run=dry_run)
    assert store.list_objects() == before
    assert [one.name for one in store.prune("cache")] == ["DVC cache"]
    assert store.list_objects()["remote"] == before["remote"]


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_killed_removal_is_finished_by_the_next(store, monkeypatch, calls):
    """It ends before the n-th deletion: of listings and files of the remote, then of the cache."""
    real, done = dvc_pruning._delete, []

    def stop(*arguments):
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(real(*arguments))

    third = store.list_files(store.versions[2])
    with monkeypatch.context() as patch:
        patch.setattr(dvc_pruning, "_delete", stop)
        with pytest.raises(KeyboardInterrupt):
            store.prune()
    assert (store.root / JOURNAL).exists()
    for objects in store.list_objects().values():
        assert third | {store.versions[2]} <= objects
    store.prune()
    assert set(map(frozenset, store.list_objects().values())) == {frozenset(third | {store.versions[2]})}
    assert not (store.root / JOURNAL).exists()


def test_a_file_that_is_needed_again_is_not_removed_by_the_next(store, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dvc_pruning, "_delete", stop)
        with pytest.raises(KeyboardInterrupt):
            store.prune()
    kept = KeptObjects(needed=set(store.versions), known=set(store.versions), days=5)
    assert prune_objects(store.root, "remote", "me", kept) == []


def test_damaged_listings_a_missing_remote_and_a_cache_elsewhere(store, run_in, tmp_path):
    run_in(store.root, "dvc", "cache", "dir", "--local", str(tmp_path / "shared"))
    assert [one.name for one in store.prune("cache")] == []
    (store.root / ".dvc/config.local").unlink()
    damaged = store.root.parent / "remote/files/md5" / store.versions[0][:2] / store.versions[0][2:]
    damaged.chmod(0o644)
    damaged.write_text("{")
    with pytest.raises(WorkspaceError, match="a damaged one at"):
        store.prune()
    run_in(store.root, "dvc", "remote", "default", "--unset")
    with pytest.raises(WorkspaceError, match=r"retention\.dvc_objects to cache"):
        store.prune()


@pytest.mark.slow
def test_a_remote_in_s3_is_cleaned_by_its_own_clock(store, s3, run_in, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    run_in(store.root, "dvc", "remote", "add", "-q", "-d", "-f", "local", f"s3://{s3.make_bucket()}/team")
    run_in(store.root, "dvc", "remote", "modify", "local", "endpointurl", s3.endpoint)
    for version in store.versions[:2]:
        text = (store.root / "data.dvc").read_text()
        (store.root / "data.dvc").write_text(text.replace(store.versions[2], version))
        dvc.push(store.root)
        (store.root / "data.dvc").write_text(text)
    dvc.push(store.root)
    assert [one.name for one in store.prune(days=1)] == ["DVC cache"]  # the remote's objects are some seconds old
    third = store.list_files(store.versions[2])
    removed = store.prune(days=0)
    assert [one.name for one in removed] == ["DVC remote local"]
    assert store.list_objects()["remote"] == third | {store.versions[2]}
