"""Where the artifacts of a tenant's runs may be deleted, and what of a tenant is in a store on this disk.

MLflow stores locations as absolute URIs, which may be those of another workspace: nothing is deleted by a URI alone.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import OwnershipError, RegistryError
from components.registry.mlflow.versions import OWNER_TAG
from components.storage.urls import to_local_path

_MAX_DESCRIPTION_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class DeletionGuard:
    """What one workspace may delete in MLflow."""

    owner: str
    """Owner of the workspace's own runs."""
    folders: Sequence[Path]
    """The workspace, and the folder of its MLflow database."""
    location: str
    """URI of the experiment's artifacts."""
    is_shared: bool
    """Whether the MLflow is not the workspace's own, so that `location` is a store that params.yaml names."""

    def check(self, run: Any, tenant: str) -> None:
        """Check one of the tenant's runs in MLflow before it is deleted.

        Raises:
            OwnershipError: it belongs to another workspace.
            RegistryError: its files are neither in the workspace nor in the store of the experiment.
        """
        owner, uri = run.data.tags.get(OWNER_TAG, ""), run.info.artifact_uri
        if owner not in ("", self.owner):
            fix = f"forget it in that workspace, or take the tenant over with `prefixfleet adopt {tenant}` first"
            raise OwnershipError(
                f"runs of {tenant} that belong to this workspace ({self.owner})",
                f"run {run.info.run_id} of workspace {owner}",
                fix,
            )
        if not self._may_delete(uri, run.info.run_id, is_own=owner == self.owner):
            fix = "delete these files by hand, or move them into the workspace's store and correct the run in MLflow"
            raise RegistryError(f"the files of {tenant} in the store of this workspace", f"files at {uri}", fix)

    def _may_delete(self, uri: str, run_id: str, *, is_own: bool) -> bool:
        path, location = to_local_path(uri), to_local_path(self.location)
        if path is None:
            return uri.startswith(f"{self.location.rstrip('/')}/") and run_id in uri.split("/")
        real = path.resolve()
        if run_id not in real.parts:
            return False
        if any(real.is_relative_to(folder.resolve()) for folder in self.folders):
            return True
        is_in_store = location is not None and real.is_relative_to(location.resolve())
        return is_in_store and (self.is_shared or is_own)


def find_run_folders(artifacts: Path, tenant: str) -> Iterator[Path]:
    """Yield the folders <experiment>/<run> of a store on this disk whose JSON files name the tenant as theirs."""
    for folder in sorted(artifacts.glob("*/*")):
        if (
            folder.is_dir()
            and not folder.is_symlink()
            and any(_names_tenant(path, tenant) for path in _list_json(folder))
        ):
            yield folder


def _list_json(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.json") if path.is_file())


def _names_tenant(path: Path, tenant: str) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= _MAX_DESCRIPTION_BYTES:
            values = json.loads(path.read_bytes())
            return isinstance(values, dict) and values.get("tenant") == tenant
    return False
