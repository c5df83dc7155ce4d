from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow_server import MlflowServer
from registered_versions import add_version

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.manifest import Manifest
from components.registry.mlflow.versions import to_model_name
from components.registry.registry import Registration, Registry, RunLog, Version

Save = Callable[..., Manifest]


def test_a_name_that_a_prompt_has_is_no_registered_model(registry: Registry, save: Save, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    registry.find_champions()
    client = MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri)
    client.register_prompt(name=to_model_name("acme"), template="Answer {{question}}")
    with pytest.raises(RegistryError, match="already taken by a prompt"):
        add_version(registry, save, tmp_path)


def test_an_alias_or_tag_of_a_version_that_is_missing_is_refused(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="prefix-acme"):
        registry.set_alias("acme", "champion", "1")
    with pytest.raises(RegistryError, match="prefix-acme"):
        registry.set_tags(Version("acme", "1"), {"a": "b"})


@pytest.mark.slow
def test_a_registration_on_a_server_takes_few_calls_and_sends_its_files_to_a_named_store(
    mlflow_server: MlflowServer, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(RegistryConfig(tracking_uri=mlflow_server.uri), tmp_path)
    calls: Counter[str] = Counter()
    real = requests.Session.send

    def send(session: requests.Session, request: Any, **options: Any) -> requests.Response:
        calls["artifacts" if "mlflow-artifacts" in request.url else request.url.rpartition("/mlflow/")[2]] += 1
        return real(session, request, **options)

    def register(tenant: str, *, has_model: bool) -> Version:
        save(tmp_path / tenant, tenant=tenant, **({"fingerprint": "e" * 64} if has_model else {}))
        (tmp_path / "report.json").write_text("{}")
        one = Registration(
            tenant=tenant,
            artifact=tmp_path / tenant,
            base_path="base",
            run_log=RunLog(metrics={"bleu": 60.0}, dataset_version="v" * 32, files=[tmp_path / "report.json"]),
            alias="champion",
            has_model=has_model,
        )
        calls.clear()
        result = registry.register_all([one])[tenant]
        assert isinstance(result, Version), result
        return result

    def list_files(version: Version) -> dict[str, int]:
        root = next(Path(mlflow_server.store).glob(f"*/{version.run_id}/artifacts"))
        return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}

    monkeypatch.setattr(requests.Session, "send", send)
    through_server = register("lean-one", has_model=False)
    ways = ["registered-models/create", "runs/create", "runs/log-batch", "runs/log-inputs"]
    ways += ["model-versions/create", "runs/update", "registered-models/alias"]
    assert [calls[way] for way in ways] == [1] * len(ways)
    assert calls["artifacts"] == 8
    assert calls.total() - len(ways) - 8 <= 4, calls  # once for all tenants: health, experiment

    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", mlflow_server.store)
    direct = register("lean-two", has_model=False)
    assert not calls["artifacts"]
    assert list_files(direct).keys() == list_files(through_server).keys()
    registry.fetch(direct, tmp_path / "fetched")

    second = register("lean-two", has_model=True)
    assert (second.version, calls["registered-models/create"]) == ("2", 0)

    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", str(tmp_path / "file"))
    with pytest.raises(RegistryError, match="unset it to use MLflow's server"):
        registry.log_run("lean-two", RunLog(files=[tmp_path / "report.json"]))
