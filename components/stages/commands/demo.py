"""The demo's input: the built-in tenants' data as drops. Knows whose they are; the chain after it is everybody's."""

from components.builtin.tenants import builtin_drops
from components.stages.progress import tell
from components.stages.workspace import Workspace


def drop_builtin(workspace: Workspace) -> list[str]:
    """Write the built-in tenants' drops; returns their ids. Taking in what is known already changes nothing."""
    tenants = builtin_drops(workspace.drops)
    tell(f"drops of {len(tenants)} built-in tenants: {', '.join(tenants)}")
    return tenants


def scope(workspace: Workspace, tenants: list[str]) -> list[str] | None:
    """Whom the demo retrains: everybody (None) when only the built-in tenants have data, else only these."""
    return None if workspace.tenants() == sorted(tenants) else tenants
