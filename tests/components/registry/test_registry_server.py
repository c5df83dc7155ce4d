"""The registry against a real `mlflow server` on localhost."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow_server import MlflowServer

from components.config import BaseConfig, RegistryConfig
from components.model.base.load import load_base
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest
from components.registry.mlflow.quiet import quiet_mlflow
from components.registry.registry import Registration, Registry, RunLog, Version


@pytest.mark.slow
def test_a_fleet_is_registered_and_read_on_a_server(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    save_for: Callable[..., Manifest],
    base_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    uri = mlflow_server.uri
    base = load_base(BaseConfig(path=str(base_folder)), device="cpu")
    registry = Registry(RegistryConfig(tracking_uri=uri), tmp_path)
    tenants = ["a", "b", "c", "d"]
    manifests = {tenant: save_for(tmp_path / tenant, base, tenant=tenant) for tenant in tenants}
    (tmp_path / "report.json").write_text("{}")
    run = RunLog(
        params={"steps": 3}, metrics={"bleu": 60.0}, dataset_version="v" * 36, files=[tmp_path / "report.json"]
    )
    jobs = [
        Registration(
            tenant=tenant, artifact=tmp_path / tenant, base_path=str(base_folder), run_log=run, alias="champion"
        )
        for tenant in tenants
    ]
    results = registry.register_all(jobs)
    assert all(isinstance(result, Version) for result in results.values()), results
    assert capfd.readouterr() == ("", "")
    champions = registry.find_champions()
    assert {tenant: version.sha256 for tenant, version in champions.items()} == {
        tenant: manifest.sha256 for tenant, manifest in manifests.items()
    }
    assert registry.find_champion("a") == champions["a"]
    assert registry.find_versions("b") == [champions["b"]]
    assert load_artifact(registry.fetch(champions["c"], tmp_path / "fetched"), base)[1] == manifests["c"]
    assert registry.register("d", tmp_path / "d", str(base_folder), {}, run).version == "1"
    assert registry.find_challenger("d") is None
    assert registry.find_champion("nobody") is None

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with quiet_mlflow():
        assert len(mlflow.pyfunc.load_model("models:/prefix-a@champion").predict(["x", "y"])) == 2
