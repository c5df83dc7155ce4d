"""Whether a tenant's champion in MLflow may be used by a step: by its owner, and by what its tags say."""

from typing import TYPE_CHECKING

from components.stages.progress import log_warning
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.registry.mlflow.versions import Version


def select_comparable(workspace: Workspace, champion: "Version | None") -> "Version | None":
    """Return the champion that a new prefix is compared with; None if there is none, or it cannot serve.

    Raises:
        OwnershipError: the champion belongs to another workspace.
    """
    if champion is None:
        return None
    tenant = champion.tenant
    workspace.registry.ownership.check_version(champion, f"compare a prefix of {tenant} with its champion")
    if champion.fault:
        log_warning(
            f"{tenant}: champion version {champion.version} is not compared: {champion.fault}; "
            "the gate judges by the floors alone"
        )
        return None
    return champion
