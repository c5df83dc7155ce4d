"""Removes DVC's objects that nothing needs any more: those of old dataset versions and of old results.

Needed are the objects that the work tree, the tip of a branch or a commit of the last days names, and the dataset
versions of every version in MLflow, of the prefixes in out/, and of the nights of the last days.
"""

from collections.abc import Collection, Iterator

from components.config import RetentionConfig
from components.data.dvc import POINTER_FILE
from components.data.dvc_pruning import KeptObjects, prune_objects
from components.data.dvc_references import find_references
from components.rollout.store.ledger import read_history
from components.rollout.store.runs import read_dataset_versions
from components.stages.retention.local_manifests import list_local_manifests
from components.stages.retention.policy import find_oldest_kept
from components.stages.retention.result import PrunedKind
from components.stages.workspace import Workspace

_VERSION_TAG = "dataset_version"


def prune_datasets(
    workspace: Workspace, limits: RetentionConfig, now_s: float, removed: Collection[str], *, dry_run: bool
) -> list[PrunedKind]:
    """Remove unneeded objects, where `limits.dvc_objects` says.

    `removed` are the dataset versions of versions that were just removed from MLflow, or with `dry_run` would be.

    Raises:
        WorkspaceError: see `prune_objects`; git or the database fails.
        RegistryError: MLflow does not answer.
    """
    if limits.dvc_objects == "keep" or not (workspace.root / ".dvc").is_dir():
        return []
    oldest_s = find_oldest_kept(limits, now_s)
    references = find_references(workspace.root, oldest_s)
    trained = set(_list_trained_on(workspace))
    recent, earlier = read_dataset_versions(workspace.database, oldest_s)
    needed = {*references.needed, *trained, *recent}
    known = {*references.known, *trained, *recent, *earlier, *removed, *_list_pruned(workspace)}
    kept = KeptObjects(needed=needed, known=known, days=limits.days)
    identity = workspace.registry.ownership.identity
    stores = prune_objects(workspace.root, limits.dvc_objects, identity.id, kept, dry_run=dry_run)
    return [PrunedKind(f"objects of the {one.name}", one.objects, one.size_bytes) for one in stores]


def _list_trained_on(workspace: Workspace) -> Iterator[str]:
    """Yield the dataset versions of all versions in MLflow, of the prefixes here, and the present one."""
    for versions in workspace.registry.find_histories(_VERSION_TAG).values():
        yield from (one.tags[_VERSION_TAG] for one in versions if one.tags.get(_VERSION_TAG))
    yield from (manifest.dataset_version for manifest in list_local_manifests(workspace))
    if (workspace.root / POINTER_FILE).is_file():
        yield workspace.dataset_version


def _list_pruned(workspace: Workspace) -> Iterator[str]:
    """Yield the dataset versions of versions that earlier prunings removed."""
    for entry in read_history(workspace.database):
        if entry.action == "prune":
            yield from (str(one) for one in entry.figures.get("dataset_versions", ()))
