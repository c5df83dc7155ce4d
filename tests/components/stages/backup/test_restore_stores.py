"""Fleets whose MLflow is a server, or whose artifacts are in object storage, come back in other stores."""

import shutil

import pytest
from mlflow import MlflowClient
from mlflow_server import run_server
from stage_chain import run_chain

from components.errors import BackupError
from components.stages.backup.make import make_backup
from components.stages.backup.restore import restore_backup
from components.stages.plan import plan
from components.stages.workspace import Workspace
from components.storage.backups.store import open_backups

pytestmark = pytest.mark.slow


def fetch_champion(root, folder):
    registry = Workspace(root).registry
    return registry.fetch(registry.find_champions()["alder"], folder)


def test_behind_a_server_the_database_and_the_store_are_copied_and_another_server_goes_on(
    make_root, empty_mlflow, target, tmp_path, monkeypatch
):
    root, old, new = make_root(("alder",)), tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.copy(empty_mlflow, old / "mlflow.db")
    with run_server(old / "mlflow.db", str(old / "store")) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        run_chain(root)
        monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{old}/mlflow.db")
        monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", str(old / "store"))
        manifest = make_backup(Workspace(root), target).manifest
    assert manifest.facts["incomplete"] == []
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    monkeypatch.delenv("MLFLOW_ARTIFACTS_DESTINATION")
    shutil.rmtree(root)
    shutil.rmtree(old)

    with pytest.raises(BackupError, match="no --artifacts"):
        restore_backup(target, new)
    result = restore_backup(target, new, artifacts=str(tmp_path / "store"))
    (told,) = (text for text in result.finished.by_hand if text.startswith("start an MLflow server"))
    assert f"--backend-store-uri sqlite:///{new}/var/mlflow/mlflow.db" in told
    with run_server(new / "var/mlflow/mlflow.db", str(tmp_path / "store")) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        assert (fetch_champion(new, tmp_path / "fetched") / "prefix.safetensors").is_file()
        assert not plan(Workspace(new)).items


def test_artifacts_in_object_storage_are_copied_once_and_come_back_in_the_workspace(
    make_root, s3, tmp_path, monkeypatch
):
    for name, value in {**s3.environment, "MLFLOW_S3_ENDPOINT_URL": s3.endpoint}.items():
        monkeypatch.setenv(name, value)
    root, bucket = make_root(("alder",)), s3.make_bucket()
    client = MlflowClient(f"sqlite:///{root}/var/mlflow/mlflow.db")
    if (known := client.get_experiment_by_name("prefixfleet")) is not None:
        client.rename_experiment(known.experiment_id, "other")
    client.create_experiment("prefixfleet", artifact_location=f"s3://{bucket}/mlflow")
    run_chain(root)
    target = f"s3://{s3.make_bucket()}/backups"
    first = make_backup(Workspace(root), target).manifest
    again = make_backup(Workspace(root), target).manifest
    assert first.facts["incomplete"] == []
    assert again.parts["artifacts"] == first.parts["artifacts"]
    assert open_backups(target).list_ids() == [first.id, again.id]
    shutil.rmtree(root)
    s3.make_client().delete_objects(
        Bucket=bucket,
        Delete={
            "Objects": [{"Key": one["Key"]} for one in s3.make_client().list_objects_v2(Bucket=bucket)["Contents"]]
        },
    )
    restore_backup(target, tmp_path / "new")
    assert (fetch_champion(tmp_path / "new", tmp_path / "fetched") / "prefix.safetensors").is_file()
    assert (tmp_path / "new" / "var/mlflow/artifacts/mlflow").is_dir()
