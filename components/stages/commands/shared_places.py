"""Places of a workspace that a copy of it uses too: nothing is deleted there as long as the original exists."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from components.data.dvc import POINTER_FILE
from components.data.dvc_objects import find_outside_stores, find_owned_objects
from components.errors import WorkspaceError
from components.rollout.store.removal import list_remaining_rows
from components.stages.progress import join_abbreviated
from components.stages.workspace import Workspace
from components.storage.workspace_identity import open_identity


def refuse_shared_places(workspace: Workspace, tenant: str, folders: Iterable[Path]) -> None:
    """Refuse to forget a tenant in a copy of a workspace, if something of it is in a place of both.

    `folders` are the workspace's folders that are searched.

    Raises:
        WorkspaceError: names the places, and the workspace that this one was copied from.
    """
    identity = open_identity(workspace.root)
    if not identity.has_living_original:
        return
    places = [*_find_outside_folders(workspace, folders), *_find_shared_records(workspace, tenant)]
    if places:
        original = Path(identity.copied_from_folder).parent
        got = f"{join_abbreviated(places)}, which {original} uses too, the workspace that this one was copied from"
        fix = f"forget {tenant} in {original} first; or give this workspace places of its own"
        raise WorkspaceError(f"{tenant} in places of this workspace alone", got, fix)


def _find_outside_folders(workspace: Workspace, folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        if folder.exists() and not folder.resolve().is_relative_to(workspace.root):
            yield f"the folder {folder.resolve()}"


def _find_shared_records(workspace: Workspace, tenant: str) -> Iterator[str]:
    if (workspace.root / POINTER_FILE).exists():
        outside = find_outside_stores(workspace.root)
        for store, objects in find_owned_objects(workspace.root, tenant).items():
            if store in outside and objects:
                yield f"{len(objects)} objects in the {store}"
    scheme, _, file = workspace.database.url.partition(":///")
    is_inside = scheme == "sqlite" and Path(file).resolve().is_relative_to(workspace.root)
    if not is_inside and list_remaining_rows(workspace.database, tenant):
        yield "rows in the rollout's database"
