"""Missing or damaged files raise ArtifactError and an unreachable store RegistryError, for every kind of store."""

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow import MlflowClient
from mlflow_server import MlflowServer, run_server
from moto.server import ThreadedMotoServer

from components.config import RegistryConfig
from components.errors import ArtifactError, RegistryError
from components.registry.artifact import load_artifact
from components.registry.mlflow.quiet import quiet_mlflow
from components.registry.registry import Registry, RunLog

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
NO_RETRIES = {"AWS_MAX_ATTEMPTS": "1"}
"""Without it boto3 retries for half a minute."""
BUCKET = "mlflow"


class Folder:
    """An artifact store in a folder, which can be moved away."""

    def __init__(self, root: Path) -> None:
        self.root, self.away = root, root.with_name("away")

    def stop(self) -> None:
        self.root.rename(self.away)

    def start(self) -> None:
        self.away.rename(self.root)

    def read(self, name: str, run: str) -> bytes:
        return self._find(name, run).read_bytes()

    def write(self, name: str, run: str, content: bytes | None) -> None:
        path = self._find(name, run)
        path.unlink() if content is None else path.write_bytes(content)

    def _find(self, name: str, run: str) -> Path:
        (folder,) = self.root.glob(f"**/{run}/artifacts/model/artifacts")
        return folder / name


class Bucket:
    """An artifact store behind an S3 API, which can be stopped."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()
        names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
        self._client = boto3.client("s3", endpoint_url=self.url, **dict(zip(names, KEYS.values(), strict=True)))
        self._client.create_bucket(Bucket=BUCKET)

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def empty(self) -> None:
        for entry in self._client.list_objects_v2(Bucket=BUCKET)["Contents"]:
            self._client.delete_object(Bucket=BUCKET, Key=entry["Key"])

    def read(self, name: str, run: str) -> bytes:
        content: bytes = self._client.get_object(Bucket=BUCKET, Key=self._find(name, run))["Body"].read()
        return content

    def write(self, name: str, run: str, content: bytes | None) -> None:
        key = self._find(name, run)
        self._client.delete_object(Bucket=BUCKET, Key=key)
        if content is not None:
            self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def _find(self, name: str, run: str) -> str:
        keys = [entry["Key"] for entry in self._client.list_objects_v2(Bucket=BUCKET)["Contents"]]
        (folder,) = {key.split(f"/{run}/")[0] for key in keys if f"/{run}/" in key}
        return f"{folder}/{run}/artifacts/model/artifacts/{name}"


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    yield bucket
    bucket.stop()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client retry without pauses."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@pytest.fixture
def check(save: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Registry, Any], Any]:
    """Return a function that checks fetches from a registry whose store has damaged files, stops, and comes back."""

    def run(registry: Registry, store: Any) -> Any:
        for tenant in ("acme", "other"):
            save(tmp_path / tenant, tenant=tenant)
        acme, _ = (registry.register(tenant, tmp_path / tenant, "base", {}, RunLog()) for tenant in ("acme", "other"))
        folder = tmp_path / "fetched"
        for name in ("prefix.safetensors", "manifest.json"):
            whole = store.read(name, acme.run_id)
            for damaged in (None, whole[:-7]):
                store.write(name, acme.run_id, damaged)
                with pytest.raises(ArtifactError, match=name):
                    registry.fetch(acme, folder)
                store.write(name, acme.run_id, whole)
        assert not folder.exists()
        store.stop()
        with pytest.raises(RegistryError, match="store") as unreachable:
            registry.fetch(acme, folder)
        assert "folder or bucket" in unreachable.value.fix
        store.start()
        with monkeypatch.context() as without_listing:
            without_listing.setattr("mlflow.artifacts.download_artifacts", None)
            assert load_artifact(registry.fetch(acme, folder), None)[1].tenant == "acme"
        return acme

    return run


def test_files_of_a_database_in_a_folder(registry: Registry, check: Callable[..., Any], tmp_path: Path) -> None:
    version = check(registry, Folder(tmp_path / "var/mlflow/artifacts/prefixfleet"))
    with quiet_mlflow():
        MlflowClient(registry.uri, registry.uri).delete_model_version("prefix-acme", version.version)
    with pytest.raises(ArtifactError, match="no such version"):
        registry.fetch(version, tmp_path / "again")


@pytest.mark.slow
def test_files_of_a_database_in_a_bucket(
    registry: Registry, check: Callable[..., Any], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, **NO_RETRIES, "MLFLOW_S3_ENDPOINT_URL": bucket.url}.items():
        monkeypatch.setenv(name, value)
    with quiet_mlflow():
        MlflowClient(registry.uri, registry.uri).create_experiment("prefixfleet", f"s3://{BUCKET}/fleet")
    check(registry, bucket)


@pytest.mark.slow
def test_files_of_a_server_in_a_folder(mlflow_server: MlflowServer, check: Callable[..., Any], tmp_path: Path) -> None:
    uri = mlflow_server.uri
    registry = Registry(RegistryConfig(tracking_uri=uri), tmp_path)
    version = check(registry, Folder(Path(mlflow_server.store)))
    with quiet_mlflow():
        MlflowClient(uri, uri).delete_model_version("prefix-acme", version.version)
    with pytest.raises(ArtifactError, match="no such version"):
        registry.fetch(version, tmp_path / "again")


@pytest.mark.slow
def test_files_of_a_server_in_a_bucket(
    empty_mlflow: Path, check: Callable[..., Any], bucket: Bucket, tmp_path: Path
) -> None:
    shutil.copyfile(empty_mlflow, tmp_path / "server.db")
    access = {**KEYS, **NO_RETRIES, "MLFLOW_S3_ENDPOINT_URL": bucket.url}
    with run_server(tmp_path / "server.db", f"s3://{BUCKET}", **access) as server:
        registry = Registry(RegistryConfig(tracking_uri=server.uri), tmp_path)
        version = check(registry, bucket)
        bucket.empty()
        with pytest.raises(RegistryError, match="an empty artifact store"):
            registry.fetch(version, tmp_path / "again")
    with pytest.raises(RegistryError, match=server.uri):
        registry.find_champions()
    with pytest.raises(RegistryError, match=server.uri):
        registry.fetch(version, tmp_path / "again")
