import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.config import RegistryConfig
from components.errors import ArtifactError, RegistryError
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest
from components.registry.registry import Registration, Registry, RunLog, Version, read_curves

Save = Callable[..., Manifest]
Make = Callable[..., Any]


def client_of(registry: Registry) -> MlflowClient:
    return MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri)


def add(registry: Registry, save: Save, folder: Path, tenant: str = "acme", **changes: Any) -> Version:
    save(folder / tenant, tenant=tenant, **changes)
    return registry.register(tenant, folder / tenant, "base", {"verdict": "accepted"}, RunLog(metrics={"bleu": 61.5}))


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the reading calls that MLflow's client gets from now on."""
    calls: list[str] = []
    for name in ("search_registered_models", "search_model_versions", "get_model_version", "get_registered_model"):
        real = getattr(MlflowClient, name)

        def counted(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
            calls.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(MlflowClient, name, counted)
    return calls


def test_a_version_holds_the_prefix_and_says_what_it_is(registry: Registry, save: Save, tmp_path: Path) -> None:
    manifest = save(tmp_path / "acme")
    version = registry.register(
        "acme", tmp_path / "acme", "base", {"verdict": "accepted"}, RunLog(metrics={"bleu": 61})
    )
    assert (version.tenant, version.version, version.aliases) == ("acme", "1", ())
    assert version.fingerprint == manifest.fingerprint
    assert version.dataset_version == manifest.dataset_version
    assert version.sha256 == manifest.sha256
    assert version.tags["verdict"] == "accepted"
    assert version.tags["metric.bleu"] == "61"
    assert registry.find_versions("acme") == [version]
    fetched = registry.fetch(version, tmp_path / "fetched")
    assert load_artifact(fetched, None)[1] == manifest
    folder = tmp_path / "var" / "mlflow" / "artifacts" / "prefixfleet" / version.run_id / "artifacts" / "model"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < (tmp_path / "acme" / "prefix.safetensors").stat().st_size + 12_000


def test_a_run_has_params_metrics_curves_dataset_and_files(registry: Registry, save: Save, tmp_path: Path) -> None:
    report, predictions = tmp_path / "report.json", tmp_path / "base"
    report.write_text("{}")
    predictions.mkdir()
    (predictions / "predictions.jsonl").write_text("")
    curve = [(step, 1 / (step + 1)) for step in range(1700)]
    many = [(str(number), number) for number in range(150)]
    run = RunLog(
        params={
            "train": {"prefix_length": 8, "init_text": None},
            "long": "x" * 9000,
            "many": dict(many),
        },
        metrics={"bleu": 61.5, "never": float("nan")},
        curves={"train_loss": curve, "validation_loss": [(50, 0.5)]},
        dataset_version="d" * 32 + ".dir",
        tags={"verdict": "accepted"},
        files=[report, predictions],
    )
    save(tmp_path / "acme")
    version = registry.register("acme", tmp_path / "acme", "base", {}, run)
    client = client_of(registry)
    logged = client.get_run(version.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "acme"
    assert logged.data.params["train.prefix_length"] == "8"
    assert len(logged.data.params) == 153
    assert logged.data.metrics == {"bleu": 61.5, "train_loss": pytest.approx(curve[-1][1]), "validation_loss": 0.5}
    assert len(client.get_metric_history(version.run_id, "train_loss")) == 1700
    assert logged.data.tags["dataset_version"] == "d" * 32 + ".dir"
    assert logged.inputs.dataset_inputs[0].dataset.digest == "d" * 32 + ".dir"
    assert {file.path for file in client.list_artifacts(version.run_id)} == {"report.json", "base", "model"}


def test_a_rejected_prefix_leaves_a_run_and_no_version(registry: Registry, tmp_path: Path) -> None:
    run_id = registry.log_run("acme", RunLog(metrics={"bleu": 3.0}, tags={"verdict": "rejected"}))
    assert client_of(registry).get_run(run_id).info.status == "FINISHED"
    assert registry.find_versions("acme") == []
    assert registry.find_champions() == {}


def test_the_alias_in_mlflow_is_the_truth(registry: Registry, save: Save, tmp_path: Path, make_prefix: Make) -> None:
    add(registry, save, tmp_path)
    registry.set_alias("acme", "champion", "1")
    second = add(registry, save, tmp_path, prefix=make_prefix(seed=1))
    assert second.version == "2"
    assert registry.find_champions()["acme"].version == "1"
    client_of(registry).set_registered_model_alias("prefix-acme", "champion", "2")  # by hand, in MLflow's page
    champion = registry.find_champion("acme")
    assert champion is not None
    assert champion == registry.find_champions()["acme"]
    assert (champion.version, champion.aliases, champion.sha256) == ("2", ("champion",), second.sha256)
    client_of(registry).delete_registered_model_alias("prefix-acme", "champion")
    assert registry.find_champion("acme") is None
    assert registry.find_champions() == {}
    assert [version.version for version in registry.find_versions("acme")] == ["2", "1"]


def test_champion_and_challenger_stand_side_by_side(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make
) -> None:
    first = add(registry, save, tmp_path)
    second = add(registry, save, tmp_path, prefix=make_prefix(seed=1))
    registry.set_alias("acme", "champion", first.version)
    registry.set_alias("acme", "challenger", second.version)
    assert registry.find_challenger("acme") == registry.find_aliased("challenger")["acme"]
    assert {version.version: version.aliases for version in registry.find_versions("acme")} == {
        "1": ("champion",),
        "2": ("challenger",),
    }
    registry.set_alias("acme", "champion", second.version)
    registry.delete_alias("acme", "challenger")
    registry.delete_alias("acme", "challenger")
    champion = registry.find_champion("acme")
    assert champion is not None
    assert champion.aliases == ("champion",)


def test_a_fleet_is_read_in_few_calls(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Champions that are not the newest versions are found too, without a call each."""
    tenants = [f"t{number}" for number in range(8)]
    client = client_of(registry)
    for tenant in tenants:
        for version in ("1", "2"):
            client_tags = {"fingerprint": tenant * 2, "sha256": version * 64}
            if version == "1":
                client.create_registered_model(f"prefix-{tenant}")
            client.create_model_version(f"prefix-{tenant}", f"file:///nowhere/{tenant}", tags=client_tags)
        client.set_registered_model_alias(f"prefix-{tenant}", "champion", "1" if tenant != "t0" else "2")
    client.create_registered_model("prefix-")
    client.create_registered_model("prefix-Not-Ours")
    client.create_registered_model("unrelated")
    calls = calls_of(monkeypatch)
    champions = registry.find_champions()
    assert calls == ["search_registered_models", "search_model_versions"]
    assert sorted(champions) == tenants
    assert {tenant: champion.version for tenant, champion in champions.items()} == {
        tenant: "1" if tenant != "t0" else "2" for tenant in tenants
    }
    assert champions["t3"].sha256 == "1" * 64
    assert champions["t3"].fingerprint == "t3t3"


def test_the_versions_that_hold_a_fleets_prefixes_are_found_in_few_calls(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = [f"t{number:02}" for number in range(40)]
    prefixes = {tenant: f"{number:064}" for number, tenant in enumerate(fleet)}
    client = client_of(registry)
    for number, tenant in enumerate(fleet):
        client.create_registered_model(f"prefix-{tenant}")
        for sha256 in [prefixes[tenant], "9" * 64][: 2 if number < 34 else 1]:
            client.create_model_version(f"prefix-{tenant}", "file:///nowhere", tags={"sha256": sha256})
    registry.set_alias("t39", "challenger", "1")
    calls = calls_of(monkeypatch)
    found = registry.find_by_sha256({**prefixes, "t38": "8" * 64, "nobody": "1" * 64})
    assert {tenant: (version.version, version.sha256) for tenant, version in found.items()} == {
        tenant: ("1", prefixes[tenant]) for tenant in fleet if tenant != "t38"
    }
    assert found["t39"].aliases == ("challenger",)
    assert sorted(calls) == ["search_model_versions"] * 2 + ["search_registered_models"]


def test_registering_the_same_again_makes_no_second_version(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make
) -> None:
    first = add(registry, save, tmp_path)
    registry.set_alias("acme", "champion", first.version)
    again = registry.register("acme", tmp_path / "acme", "base", {"verdict": "again"}, RunLog())
    assert (again.version, again.aliases, again.tags["verdict"]) == (first.version, ("champion",), "again")
    assert add(registry, save, tmp_path, prefix=make_prefix(seed=3)).version == "2"


def test_a_fleet_is_registered_and_one_tenants_trouble_is_its_own(
    registry: Registry, save: Save, tmp_path: Path
) -> None:
    for tenant in ("a", "b", "c"):
        save(tmp_path / tenant, tenant=tenant)
    (tmp_path / "b" / "prefix.safetensors").write_bytes(b"cut")
    jobs = [
        Registration(tenant=tenant, artifact=tmp_path / tenant, base_path="base", alias="champion")
        for tenant in ("a", "b", "c")
    ]
    results = registry.register_all(jobs)
    assert isinstance(results["b"], ArtifactError)
    assert sorted(registry.find_champions()) == ["a", "c"]


def test_another_tenants_artifact_is_refused(registry: Registry, save: Save, tmp_path: Path) -> None:
    save(tmp_path / "acme", tenant="other")
    with pytest.raises(ArtifactError, match="an artifact of acme"):
        registry.register("acme", tmp_path / "acme", "base", {}, RunLog())


def test_a_run_that_fails_is_marked_and_makes_no_version(registry: Registry, save: Save, tmp_path: Path) -> None:
    save(tmp_path / "acme")
    with pytest.raises(RegistryError, match=r"gone\.json"):
        registry.register("acme", tmp_path / "acme", "base", {}, RunLog(files=[tmp_path / "gone.json"]))
    client = client_of(registry)
    runs = client.search_runs([client.get_experiment_by_name("prefixfleet").experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]
    assert registry.find_versions("acme") == []


def test_an_artifact_changed_in_the_store_is_refused(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make
) -> None:
    version = add(registry, save, tmp_path)
    stored = next((tmp_path / "var").rglob("prefix.safetensors")).parent
    save(tmp_path / "forged", make_prefix(seed=9))
    shutil.copytree(tmp_path / "forged", stored, dirs_exist_ok=True)
    with pytest.raises(ArtifactError, match=version.sha256):
        registry.fetch(version, tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "manifest.json").exists()


def test_fetching_what_is_there_needs_no_mlflow(registry: Registry, save: Save, tmp_path: Path) -> None:
    version = add(registry, save, tmp_path)
    shutil.rmtree(tmp_path / "var")
    assert registry.fetch(version, tmp_path / "acme") == tmp_path / "acme"


def test_an_unknown_version_gets_no_alias(registry: Registry, save: Save, tmp_path: Path) -> None:
    add(registry, save, tmp_path)
    with pytest.raises(RegistryError, match="version 7 of acme as champion"):
        registry.set_alias("acme", "champion", "7")
    with pytest.raises(RegistryError, match="nobody"):
        registry.set_alias("nobody", "champion", "1")


def test_a_deleted_experiment_is_named(registry: Registry, save: Save, tmp_path: Path) -> None:
    client = client_of(registry)
    client.delete_experiment(client.create_experiment("prefixfleet"))
    with pytest.raises(RegistryError, match="'prefixfleet' is deleted"):
        add(registry, save, tmp_path)


def test_curves_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    path.write_text("step,train_loss,validation_loss\n0,3.5,\n50,2.5,2.75\n")
    assert read_curves(path) == {"train_loss": [(0, 3.5), (50, 2.5)], "validation_loss": [(50, 2.75)]}
    path.write_text("step,train_loss\nx,3\n")
    with pytest.raises(RegistryError, match=r"loss\.csv"):
        read_curves(path)


def test_the_environment_names_another_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Registry(RegistryConfig(), tmp_path).uri == f"sqlite:///{tmp_path.resolve()}/var/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert Registry(RegistryConfig(), tmp_path).uri == "http://localhost:5000"


def test_the_base_is_referred_to_by_its_absolute_folder(registry: Registry, save: Save, tmp_path: Path) -> None:
    import yaml

    (tmp_path / "base").mkdir()
    add(registry, save, tmp_path)
    model = yaml.safe_load(next((tmp_path / "var").rglob("MLmodel")).read_text())
    config = model["flavors"]["python_function"]["config"]
    assert config == {"path": str((tmp_path / "base").resolve()), "revision": None, "dtype": "float32"}
    assert json.loads(model["signature"]["params"])[0]["name"] == "num_beams"


def test_removing_a_tenant_takes_the_artifacts_of_runs_hidden_in_mlflow_too(
    registry: Registry, save: Save, tmp_path: Path
) -> None:
    version = add(registry, save, tmp_path / "made")
    client = client_of(registry)
    run_id = client.get_model_version("prefix-acme", version.version).run_id
    assert run_id
    folder = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    assert list(folder.rglob("*.safetensors"))
    client.delete_run(run_id)
    registry.remove("acme")
    assert (registry.find_remaining("acme"), list(folder.rglob("*.safetensors"))) == ([], [])
