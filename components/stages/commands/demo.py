"""The demo's input: drops of the built-in tenants, and which tenants the demo retrains."""

from components.builtin.tenants import write_builtin_drops as write_drops
from components.stages.progress import log_info
from components.stages.workspace import Workspace


def write_builtin_drops(workspace: Workspace) -> list[str]:
    """Write the built-in tenants' drops; return their ids. Taking a drop a second time changes nothing."""
    tenants = write_drops(workspace.drops)
    log_info(f"drops of {len(tenants)} built-in tenants: {', '.join(tenants)}")
    return tenants


def choose_demo_tenants(workspace: Workspace, tenants: list[str]) -> list[str] | None:
    """Return the tenants to retrain: None (all) if only the built-in tenants have data, else the built-in ones."""
    return None if workspace.list_tenants() == sorted(tenants) else tenants
