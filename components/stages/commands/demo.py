"""The demo's input: the built-in tenants' data as drops. Knows whose they are; the chain after it is everybody's."""

from components.builtin.tenants import write_builtin_drops as write_drops
from components.stages.progress import log_info
from components.stages.workspace import Workspace


def write_builtin_drops(workspace: Workspace) -> list[str]:
    """Write the built-in tenants' drops; returns their ids. Taking in what is known already changes nothing."""
    tenants = write_drops(workspace.drops)
    log_info(f"drops of {len(tenants)} built-in tenants: {', '.join(tenants)}")
    return tenants


def choose_demo_tenants(workspace: Workspace, tenants: list[str]) -> list[str] | None:
    """Whom the demo retrains: everybody (None) when only the built-in tenants have data, else only these."""
    return None if workspace.list_tenants() == sorted(tenants) else tenants
