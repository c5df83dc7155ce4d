from collections.abc import Callable
from pathlib import Path
from typing import Any

from registered_versions import add_version, open_mlflow

from components.registry.manifest import Manifest
from components.registry.registry import Registry

Save = Callable[..., Manifest]
Make = Callable[..., Any]


def test_removing_a_tenant_deletes_artifacts_of_runs_hidden_in_mlflow(
    registry: Registry, save: Save, tmp_path: Path
) -> None:
    version = add_version(registry, save, tmp_path / "made")
    client = open_mlflow(registry)
    run_id = client.get_model_version("prefix-acme", version.version).run_id
    assert run_id
    folder = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    assert list(folder.rglob("*.safetensors"))
    client.delete_run(run_id)
    registry.remove("acme")
    assert (registry.find_remaining("acme"), list(folder.rglob("*.safetensors"))) == ([], [])
