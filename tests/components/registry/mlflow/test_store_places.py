"""Where MLflow keeps a fleet's files: read from its database, also behind a server, and rewritten after a restore."""

import pytest
from registered_versions import add_version

from components.config import RegistryConfig
from components.errors import RegistryError
from components.registry.mlflow.store_places import find_database, join_served, read_places, rewrite_places
from components.registry.registry import Registry


def test_a_database_behind_a_server_is_that_of_mlflows_own_variable(tmp_path, monkeypatch):
    config = RegistryConfig(tracking_uri="http://ada:secret@host")
    with pytest.raises(RegistryError, match=r"an MLflow server at http://ada:\*\*\*@host") as problem:
        find_database(config, tmp_path)
    assert "MLFLOW_ARTIFACTS_DESTINATION" in problem.value.fix
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://host/mlflow")
    assert find_database(config, tmp_path) == "postgresql://host/mlflow"
    assert find_database(RegistryConfig(), tmp_path) == f"sqlite:///{tmp_path}/var/mlflow/mlflow.db"


@pytest.fixture
def registry(tmp_path, empty_mlflow):
    import shutil

    (tmp_path / "var" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_mlflow, tmp_path / "var" / "mlflow")
    return Registry(RegistryConfig(), tmp_path)


def test_locations_sources_and_dataset_versions_are_those_of_the_fleet(registry, save, tmp_path):
    add_version(registry, save, tmp_path / "saved", dataset_version="d1")
    places = read_places(registry.uri, "prefixfleet")
    folder = tmp_path / "var/mlflow/artifacts/prefixfleet"
    assert [(one.uri, one.url) for one in places.locations] == [(folder.as_uri(), str(folder))]
    assert places.sources.keys() == {"prefix-acme/1"}
    assert places.sources["prefix-acme/1"].startswith(f"{folder.as_uri()}/")
    assert places.dataset_versions == ["d1"]


def test_locations_that_only_a_server_resolves_need_its_store(registry, save, tmp_path, monkeypatch):
    add_version(registry, save, tmp_path / "saved")
    old = read_places(registry.uri, "prefixfleet").locations[0].uri
    rewrite_places(registry.uri, {old: "mlflow-artifacts:/7"}, None)
    with pytest.raises(RegistryError, match="MLFLOW_ARTIFACTS_DESTINATION"):
        read_places(registry.uri, "prefixfleet")
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/mlflow/")
    places = read_places(registry.uri, "prefixfleet")
    assert [(one.uri, one.url) for one in places.locations] == [("mlflow-artifacts:/7", "s3://bucket/mlflow/7")]
    assert places.sources["prefix-acme/1"].startswith("mlflow-artifacts:/7/")
    assert join_served("mlflow-artifacts://host:5000/7", "/store") == "/store/7"
    rewrite_places(registry.uri, {"mlflow-artifacts:/7": "ftp://host/x"}, None)
    with pytest.raises(RegistryError, match="in a folder, s3:// or gs://; got ftp://host/x"):
        read_places(registry.uri, "prefixfleet")


def test_rewriting_moves_only_what_is_below_a_location_and_the_owners(registry, save, tmp_path):
    version = add_version(registry, save, tmp_path / "saved")
    old = tmp_path / "var/mlflow/artifacts/prefixfleet"
    new = old.rename(tmp_path / "moved")
    owner = registry.ownership.owner
    rewrite_places(registry.uri, {f"{old.as_uri()[:-3]}": "file:///elsewhere"}, None)  # the beginning of a name
    rewrite_places(registry.uri, {old.as_uri(): new.as_uri()}, (owner, "another"))
    fresh = Registry(RegistryConfig(), tmp_path)
    assert (fresh.fetch(version, tmp_path / "fetched") / "prefix.safetensors").is_file()
    assert fresh.find_versions("acme")[0].owner == "another"
