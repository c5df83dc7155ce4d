"""Objects of dataset versions: from the cache or a remote, without those of forgotten tenants, and back again."""

import shutil

import pytest
from workspaces import write_tenant

from components.data.digests import read_dataset_version
from components.data.dvc_copies import add_to_cache, open_version_objects
from components.errors import WorkspaceError

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(make_checkout, run_in):
    """A checkout with two dataset versions, both in its remote; returns it and the first version."""
    root = make_checkout(("alder",))
    first = read_dataset_version(root / "data.dvc")
    run_in(root, "dvc", "push", "-q")
    write_tenant(root / "data", "birch")
    run_in(root, "dvc", "add", "-q", "data")
    run_in(root, "dvc", "push", "-q")
    return root, first


def test_objects_come_from_the_cache_else_from_a_remote_and_go_into_a_cache(checkout, tmp_path, run_in):
    root, first = checkout
    current = read_dataset_version(root / "data.dvc")
    with open_version_objects(root, current, [first]) as found:
        assert len(found.objects) == 2 + 3 + 3
        assert all(one.path.is_file() for one in found.objects)
    cache = root / ".dvc" / "cache"
    shutil.rmtree(cache)
    copies = {}
    with open_version_objects(root, current, [first]) as found:
        for one in found.objects:
            assert one.path is not None  # the remote is a folder of this machine
            one.fetch(tmp_path / one.md5)
            copies[one.md5] = tmp_path / one.md5
    shutil.rmtree(root.parent / "remote")
    shutil.rmtree(root / "data")
    add_to_cache(root, copies)
    run_in(root, "dvc", "checkout", "-q", "data.dvc")
    assert (root / "data" / "birch" / "train.jsonl").is_file()


def test_a_lost_object_stops_for_the_current_version_and_counts_for_older_ones(checkout):
    root, first = checkout
    current = read_dataset_version(root / "data.dvc")
    with open_version_objects(root, current, [first]) as found:
        lost = next(one for one in found.objects if one.md5 == first)
    for folder in (root / ".dvc" / "cache", root.parent / "remote"):
        (folder / "files" / "md5" / lost.md5[:2] / lost.md5[2:]).unlink()
    with open_version_objects(root, current, [first]) as found:
        assert found.missing == 1
    with pytest.raises(WorkspaceError, match="none in any store"), open_version_objects(root, first, []):
        pass
