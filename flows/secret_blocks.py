"""Secrets in Prefect's blocks of type Secret. Imports Prefect late, since Prefect reads its settings on import."""

from typing import Any

from components.errors import ConfigError


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
