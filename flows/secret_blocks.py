"""Secrets in Prefect's blocks of type Secret, and messages whose secrets may be there.

Imports Prefect late, since Prefect reads its settings on import.
"""

from typing import Any

from components.errors import ConfigError
from components.notify.sending import SendResult
from components.stages.notifications import send_notifications
from components.stages.workspace import Workspace


def read_secret_block(name: str) -> str:
    """Return the value of a Secret block.

    Raises:
        ConfigError: Prefect has no such block, or does not answer.
    """
    from prefect.blocks.system import Secret

    try:
        block: Any = Secret.load(name)
        return str(block.get())
    except Exception as problem:  # noqa: BLE001 - of Prefect's client; its message may quote a request
        fix = "make it (`prefect block create secret`, or on Prefect's page Blocks), and set PREFECT_API_URL"
        raise ConfigError(f"the block {name} of type Secret in Prefect", type(problem).__name__, fix) from None


def send_due_messages(workspace: Workspace) -> SendResult:
    """Send what is due to channels and webhooks. What fails becomes a warning."""
    return send_notifications(workspace, read_secret_block)
