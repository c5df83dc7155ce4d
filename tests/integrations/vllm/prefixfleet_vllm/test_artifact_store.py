from collections.abc import Callable
from pathlib import Path

import pytest
from prefixfleet_vllm.artifact import read_artifact
from prefixfleet_vllm.artifact_store import ArtifactStore
from prefixfleet_vllm.errors import PluginError
from s3_server import S3Server

from components.registry.manifest import Manifest

SHA256 = "a" * 64


def test_the_default_folder_is_that_of_the_digest_in_the_first_store(tmp_path: Path) -> None:
    store = ArtifactStore([f"{tmp_path}/one/", "s3://bucket/two"])
    assert store.find_folder(SHA256, "") == f"file://{tmp_path}/one/{SHA256}"
    assert store.find_folder(SHA256, "s3://bucket/two/x/y/") == "s3://bucket/two/x/y"
    assert store.find_folder(SHA256, f"{tmp_path}/one/x") == f"file://{tmp_path}/one/x"


@pytest.mark.parametrize(
    "address",
    [
        "/elsewhere/x",
        "/store",
        "/store-2/x",
        "/store/../etc/x",
        "/store/./x",
        "/store//x",
        "file://host/store/x",
        "file://store/x",
        "store/x",
        "http://bucket/x",
        "s3://other/x",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?versionId=1",
        "/store/x#1",
    ],
)
def test_an_address_outside_the_stores_is_refused(address: str) -> None:
    with pytest.raises(PluginError) as refused:
        ArtifactStore(["/store", "s3://bucket"]).find_folder(SHA256, address)
    assert refused.value.kind == "request"
    assert "secret" not in str(refused.value)


def test_a_file_beyond_the_limit_is_not_returned(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file").write_bytes(b"12345")
    store = ArtifactStore([str(tmp_path)])
    folder = store.find_folder("", f"{tmp_path}/x")
    assert store.read_file(folder, "file", 5) == b"12345"
    with pytest.raises(PluginError, match="at most 4 bytes"):
        store.read_file(folder, "file", 4)


def test_artifacts_in_s3_are_read(
    tmp_path: Path, save: Callable[..., Manifest], s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    manifest, bucket = save(tmp_path), s3.make_bucket()
    for file in ("manifest.json", "prefix.safetensors"):
        s3.make_client().upload_file(str(tmp_path / file), bucket, f"all/{manifest.sha256}/{file}")
    store = ArtifactStore([f"s3://{bucket}/all"])
    folder = store.find_folder(manifest.sha256, "")
    found = read_artifact(lambda name, limit: store.read_file(folder, name, limit), folder)
    assert found.manifest.sha256 == manifest.sha256
    missing = store.find_folder(SHA256, "")
    with pytest.raises(PluginError, match=r"manifest\.json") as refused:
        store.read_file(missing, "manifest.json", 9)
    assert refused.value.kind == "artifact"


def test_a_store_that_does_not_answer_is_not_taken_for_a_missing_artifact(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**s3.environment, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PluginError, match="check the store") as refused:
        ArtifactStore(["s3://bucket"]).read_file("s3://bucket/x", "manifest.json", 9)
    assert refused.value.kind == "store"
