"""The registry against a real `mlflow server` on localhost."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
import requests

from components.config import BaseConfig, RegistryConfig
from components.errors import RegistryError
from components.model.base import load_base
from components.registry.artifact import load_artifact
from components.registry.connection import quiet_mlflow
from components.registry.manifest import Manifest
from components.registry.tracking import Registration, Registry, RunLog, Version


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/store"),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait(uri, process)
        yield uri, process
    finally:
        _stop(process)


@pytest.mark.slow
def test_a_fleet_lives_on_a_server(
    server: tuple[str, "subprocess.Popen[bytes]"],
    tmp_path: Path,
    save_for: Callable[..., Manifest],
    base_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    uri, process = server
    base = load_base(BaseConfig(path=str(base_folder)), device="cpu")
    registry = Registry(RegistryConfig(tracking_uri=uri), tmp_path)
    tenants = ["a", "b", "c", "d"]
    manifests = {tenant: save_for(tmp_path / tenant, base, tenant=tenant) for tenant in tenants}
    (tmp_path / "report.json").write_text("{}")
    run = RunLog(
        params={"steps": 3}, metrics={"bleu": 60.0}, dataset_version="v" * 36, files=[tmp_path / "report.json"]
    )
    jobs = [
        Registration(tenant=tenant, artifact=tmp_path / tenant, base_path=str(base_folder), run=run, alias="champion")
        for tenant in tenants
    ]
    results = registry.register_all(jobs)
    assert all(isinstance(result, Version) for result in results.values()), results
    assert capfd.readouterr() == ("", "")
    champions = registry.champions()
    assert {tenant: version.sha256 for tenant, version in champions.items()} == {
        tenant: manifest.sha256 for tenant, manifest in manifests.items()
    }
    assert registry.champion("a") == champions["a"]
    assert registry.versions("b") == [champions["b"]]
    assert load_artifact(registry.fetch(champions["c"], tmp_path / "fetched"), base)[1] == manifests["c"]
    assert registry.register("d", tmp_path / "d", str(base_folder), {}, run).version == "1"
    assert registry.challenger("d") is None
    assert registry.champion("nobody") is None

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with quiet_mlflow():
        assert len(mlflow.pyfunc.load_model("models:/prefix-a@champion").predict(["x", "y"])) == 2

    _stop(process)
    started = time.monotonic()
    with pytest.raises(RegistryError, match=uri):
        registry.champions()
    assert time.monotonic() - started < 10


def _wait(uri: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    pytest.fail(f"mlflow server did not start: {process.poll()}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server and the workers that it started, which share its process group."""
    if process.poll() is None:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(20)
