"""Refuses versions that the engine in params.yaml cannot answer with, before an alias is moved to them.

Knows the section `serve` and the tags of versions; does not know engines.
"""

import json

from components.config.serve import VLLM_METHODS, find_unsupported
from components.errors import ConfigError
from components.registry.mlflow.versions import DECODING_TAG, Version
from components.stages.workspace import Workspace


def check_engine(workspace: Workspace, version: Version) -> None:
    """Raise ConfigError if serve.engine is vllm without a fallback, and vLLM cannot answer with the version."""
    config = workspace.params.serve
    if config.engine == "local" or config.fallback == "local":
        return
    method = version.tags.get("method", "")
    if method not in ("", *VLLM_METHODS):
        problem = f"method {method}"
    elif names := find_unsupported(_read_decoding(version)):
        problem = ", ".join(names)
    else:
        return
    raise ConfigError(
        "a version that the engine vllm can answer with (serve.engine)",
        f"version {version.version} of {version.tenant} with {problem}",
        "set serve.fallback: local, so that the server answers it in its own process, or train another version",
    )


def _read_decoding(version: Version) -> dict[str, object]:
    try:
        decoding = json.loads(version.tags.get(DECODING_TAG) or "{}")
    except ValueError:
        return {}
    return decoding if isinstance(decoding, dict) else {}
