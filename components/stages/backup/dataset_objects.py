"""DVC's objects in a backup: those of the present dataset version, and of those that prefixes were trained on."""

from collections.abc import Iterable

from components.data.dvc import POINTER_FILE
from components.data.dvc_copies import open_version_objects
from components.stages.progress import log_info
from components.stages.workspace import Workspace
from components.storage.backups.sender import FileSource, Sender

PART = "dvc"
"""First part of the names of these objects; the rest is their md5."""


def send_dataset_versions(sender: Sender, workspace: Workspace, versions: Iterable[str]) -> int:
    """Copy the version in data.dvc and these; return how many objects of older ones no store has.

    Raises:
        WorkspaceError: DVC fails, or something of the version in data.dvc is in no store.
    """
    root = workspace.root
    if not (root / ".dvc").is_dir() or not (root / POINTER_FILE).is_file():
        return 0
    with open_version_objects(root, workspace.dataset_version, versions) as found:
        sender.send(
            FileSource(f"{PART}/{one.md5}", one.path or root, fetch=None if one.path else one.fetch, is_constant=True)
            for one in found.objects
        )
    if found.missing:
        log_info(
            f"{found.missing:,} objects of older dataset versions are in no store, such as those of forgotten tenants"
        )
    return found.missing
