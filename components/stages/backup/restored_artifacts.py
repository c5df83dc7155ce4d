"""Where a restore puts MLflow's artifacts, and how MLflow's database follows. Knows no store of backups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from components.errors import BackupError, WorkersError
from components.registry.mlflow.relocation import relocate_base
from components.registry.mlflow.store_places import is_served, join_served, rewrite_places
from components.stages.backup.artifacts import name_location
from components.storage.backups.manifest import StoredFile
from components.storage.object_store import ObjectStore
from components.storage.workspace_identity import WorkspaceIdentity

_DEFAULT_STORE = "var/mlflow/artifacts"
_MODEL_FILES = "*/artifacts/model/MLmodel"


@dataclass(frozen=True, slots=True)
class _Place:
    uri: str
    """As the copied database has it."""
    start: str
    """Of the names of its files in the backup."""
    folder: str
    """In the new workspace; "": `url` has the files."""
    url: str
    stays: bool
    """Whether the URI stays as it is, since a server resolves it."""


class ArtifactPlan:
    """The places of all locations."""

    def __init__(self, places: list[_Place]) -> None:
        """Touch nothing."""
        self._places = places

    def place(
        self,
        files: Mapping[str, StoredFile],
        put: Callable[[str, Path], None],
        objects: Mapping[str, Path],
        workspace: Path,
    ) -> None:
        """Put the files in place: in the workspace, or in the store that was named. Raises WorkersError."""
        for one in self._places:
            store = ObjectStore(one.url) if one.url else None
            for name in (name for name in files if name.startswith(f"{one.start}/")):
                rest = name.removeprefix(f"{one.start}/")
                if store is None:
                    put(name, workspace / one.folder / rest)
                else:
                    store.upload(objects[files[name].sha256], rest)

    def rewrite(self, database: str, workspace: Path, former: Path, identity: WorkspaceIdentity) -> None:
        """Let MLflow's database and the descriptions of models follow their files. Raises RegistryError."""
        moves = {
            one.uri: one.url or (workspace / one.folder).as_uri()
            for one in self._places
            if not one.stays and (one.url or (workspace / one.folder).as_uri()) != one.uri
        }
        owners = (identity.copied_from_id, identity.id) if identity.copied_from_id else None
        rewrite_places(database, moves, owners)
        for one in self._places:
            for description in (workspace / one.folder).glob(_MODEL_FILES) if one.folder else ():
                relocate_base(description, former, workspace)

    @property
    def urls(self) -> list[str]:
        """The stores outside of the workspace that get files."""
        return [one.url for one in self._places if one.url]


def plan_artifacts(facts: Mapping[str, Any], given: str | None) -> ArtifactPlan:
    """Return where each location goes: below `given`, a folder or URL, or into the workspace.

    Raises:
        BackupError: `given` is not valid, or is needed: only a server can resolve a location.
    """
    url = None if given is None or "://" in given else Path(given).expanduser().resolve().as_uri()
    target = url or given
    if target is not None:
        try:
            ObjectStore(target)
        except WorkersError as problem:
            raise BackupError(
                problem.wanted, problem.got, "name a folder, or s3://, gs:// or file:// with one"
            ) from None
    places = []
    for location in facts["locations"]:
        uri, place = location["uri"], location["place"]
        stays = is_served(uri)
        name = PurePosixPath(urlsplit(uri).path).name or "artifacts"
        if stays and target is None:
            got, fix = "no --artifacts", "name the store of the new server, its --artifacts-destination"
            raise BackupError(f"a store for the artifacts that MLflow's server had at {uri}", got, fix)
        goes_to = "" if target is None else join_served(uri, target) if stays else f"{target.rstrip('/')}/{name}"
        folder = "" if goes_to else place or f"{_DEFAULT_STORE}/{name}"
        places.append(_Place(uri, name_location(uri), folder, goes_to, stays))
    return ArtifactPlan(places)
