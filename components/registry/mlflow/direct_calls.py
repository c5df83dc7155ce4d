"""The calls of a registration and a rollout without those that MLflow's client adds to them.

Before it sets an alias or a tag, the client asks for the registered model, to refuse prompts; before it sends files, it
asks for the run. A night makes these calls for each changed tenant. Knows no version and no run.
"""

import os
from pathlib import Path
from typing import Any

from components.errors import RegistryError
from components.registry.mlflow.store_places import DESTINATION_VARIABLE, is_served, join_served
from components.storage.urls import format_first_line


def set_alias(client: Any, model: str, alias: str, number: str) -> None:
    """Set an alias on a version of a registered model; one call."""
    client._get_registry_client().set_registered_model_alias(model, alias, number)


def set_version_tag(client: Any, model: str, number: str, key: str, value: str) -> None:
    """Set a tag of a version of a registered model; one call."""
    client._get_registry_client().set_model_version_tag(model, number, key, value)


def store_files(client: Any, uri: str, folder: Path) -> None:
    """Send the files in a folder to a place in MLflow's artifact store.

    If only a server can resolve the place, the files pass through it; unless MLFLOW_ARTIFACTS_DESTINATION names the
    store behind that server: then they are sent to the store itself.

    Raises:
        RegistryError: that store refuses, or does not answer.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    destination = os.environ.get(DESTINATION_VARIABLE, "")
    if not destination or not is_served(uri):
        get_artifact_repository(uri, tracking_uri=client.tracking_uri).log_artifacts(str(folder))
        return
    place = join_served(uri, destination)
    try:
        get_artifact_repository(place).log_artifacts(str(folder))
    except Exception as problem:  # each store has its own errors
        fix = f"correct {DESTINATION_VARIABLE} or this machine's keys of that store, or unset it to use MLflow's server"
        raise RegistryError(f"files of a run in {place}", format_first_line(problem), fix) from problem
