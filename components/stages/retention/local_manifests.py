"""The manifests of the prefixes in a workspace, of the present base and of the next one."""

from collections.abc import Iterator
from contextlib import suppress

from components.errors import ArtifactError
from components.registry.manifest import MANIFEST_FILE, Manifest, read_manifest
from components.stages.next_base_view import RESULTS_FOLDER
from components.stages.workspace import Workspace


def list_local_manifests(workspace: Workspace) -> Iterator[Manifest]:
    """Yield those that can be read."""
    for folder in (workspace.get_output_folder("train"), workspace.root / "var" / RESULTS_FOLDER / "train"):
        for path in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
            with suppress(ArtifactError):
                yield read_manifest(path.parent)
