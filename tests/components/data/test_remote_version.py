"""Single tenants' data from a DVC remote: whole, checked by md5, and with an error for everything that is missing."""

import hashlib
import json

import pytest
import s3fs
import yaml

from components.data import remote_version
from components.data.dvc import DvcRemote
from components.data.remote_version import RemoteVersion
from components.errors import DataError, WorkspaceError

FILES = {
    "alder/train.jsonl": b"alder's lines\n",
    "alder/test.jsonl": b"",
    "birch/train.jsonl": b"birch's lines\n",
    "stray.txt": b"no tenant's",
    "../outside/train.jsonl": b"never written",
}


def store(remote, content, suffix=""):
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    path = remote / "files" / "md5" / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


@pytest.fixture
def remote(tmp_path):
    """A DVC remote with one version of data/, and the text of its data.dvc."""
    folder = tmp_path / "ä remote"
    listing = [{"md5": store(folder, content), "relpath": name} for name, content in FILES.items()]
    md5 = store(folder, json.dumps(listing).encode(), ".dir")
    return folder, yaml.safe_dump({"outs": [{"md5": md5, "hash": "md5", "path": "data", "nfiles": len(FILES)}]})


def open_version(root, remote, **options):
    folder, pointer = remote
    root.mkdir()
    (root / "data.dvc").write_text(pointer)
    return RemoteVersion(root, DvcRemote("store", {"url": str(folder)}), **options)


def list_files(root):
    return {path.relative_to(root / "data").as_posix() for path in (root / "data").rglob("*") if path.is_file()}


def find_object(folder, content):
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return folder / "files" / "md5" / digest[:2] / digest[2:]


def test_only_the_files_of_the_named_tenant_are_fetched(tmp_path, remote):
    version = open_version(tmp_path / "one", remote)
    find_object(remote[0], FILES["birch/train.jsonl"]).unlink()  # other tenants' files are not looked at
    version.fetch_tenant("alder")
    version.fetch_tenant("alder")
    assert list_files(tmp_path / "one") == {"alder/train.jsonl", "alder/test.jsonl"}
    assert (tmp_path / "one/data/alder/train.jsonl").read_bytes() == FILES["alder/train.jsonl"]


def test_what_is_missing_or_damaged_fails_for_its_tenant_and_is_named(tmp_path, remote):
    version = open_version(tmp_path / "one", remote)
    with pytest.raises(DataError, match="data of cedar in the pinned dataset version; got none"):
        version.fetch_tenant("cedar")
    find_object(remote[0], FILES["birch/train.jsonl"]).unlink()
    with pytest.raises(WorkspaceError, match=r"birch/train\.jsonl in the DVC remote; got none; run `dvc push`"):
        version.fetch_tenant("birch")
    find_object(remote[0], FILES["alder/train.jsonl"]).write_bytes(b"other")
    with pytest.raises(WorkspaceError, match="got a damaged file with md5 795f3202b17cb6bc3d4b771d8c6c9eaf"):
        version.fetch_tenant("alder")
    assert "alder/train.jsonl" not in list_files(tmp_path / "one")


def test_a_missing_remote_a_missing_listing_and_an_old_pointer_are_named(tmp_path, remote):
    folder, pointer = remote
    with pytest.raises(WorkspaceError, match="the parent's DVC remote 'store'; got no such folder; make a"):
        open_version(tmp_path / "one", (tmp_path / "elsewhere", pointer))
    with pytest.raises(WorkspaceError, match=r"data\.dvc with hash: md5; got hash: None"):
        open_version(tmp_path / "two", (folder, pointer.replace("  hash: md5\n", "").replace("- hash: md5\n  ", "- ")))
    other = yaml.safe_dump({"outs": [{"md5": f"{'a' * 32}.dir", "hash": "md5", "path": "data"}]})
    with pytest.raises(WorkspaceError, match=r"listing of dataset version aaaaaaaaaaaa .* got none; run `dvc push`"):
        open_version(tmp_path / "three", (folder, other))


def test_a_remote_that_does_not_answer_for_a_while_is_tried_again(tmp_path, remote, monkeypatch):
    class Away:
        """The remote's object database behind a network that fails twice for each object."""

        def __init__(self, objects):
            self.fs, self.oid_to_path, self.failures, self.cat = self, objects.oid_to_path, {}, objects.fs.cat_file

        def cat_file(self, path):
            self.failures[path] = self.failures.get(path, 0) + 1
            if self.failures[path] < 3:
                raise ConnectionResetError("connection reset by peer")
            return self.cat(path)

    real = remote_version._open_remote
    monkeypatch.setattr(remote_version, "_open_remote", lambda root, options: Away(real(root, options)))
    version = open_version(tmp_path / "one", remote)
    version.fetch_tenant("birch")
    assert list_files(tmp_path / "one") == {"birch/train.jsonl"}
    with pytest.raises(WorkspaceError, match="ConnectionResetError"):
        open_version(tmp_path / "two", remote, patience_s=0.0)


def test_a_file_in_a_bucket_is_read_by_one_request(tmp_path, remote, s3, monkeypatch):
    bucket, (folder, pointer), calls = s3.make_bucket(), remote, []
    for path in folder.rglob("*"):
        if path.is_file():
            s3.make_client().put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
    call = s3fs.S3FileSystem._call_s3

    def record(client, method, *values, **options):
        calls.append(method)
        return call(client, method, *values, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", record)
    options = {"url": f"s3://{bucket}", "endpointurl": s3.endpoint, "region": "us-east-1"}
    options |= {"access_key_id": s3.key, "secret_access_key": s3.secret}
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "data.dvc").write_text(pointer)
    RemoteVersion(tmp_path / "one", DvcRemote("store", options)).fetch_tenant("alder")
    assert list_files(tmp_path / "one") == {"alder/train.jsonl", "alder/test.jsonl"}
    assert calls == ["get_object"] * 3
