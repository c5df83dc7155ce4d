"""The package's one error: what was wanted, what came, what to do, and whose mistake it is. Knows nothing else."""

from typing import Literal

Kind = Literal["request", "artifact", "base", "store", "memory", "setup"]
"""What has to be corrected: the request, the artifact's files, the choice of base, the store, the memory limit, or
how vLLM was started."""


class PluginError(ValueError):
    """A request, an artifact or a setting that the plugin refuses."""

    def __init__(self, kind: Kind, wanted: str, got: str, fix: str) -> None:
        """Keep the kind and the message, so that the error can be sent between processes as two texts."""
        self.kind = kind
        super().__init__(f"wanted {wanted}; got {got}; {fix}")
