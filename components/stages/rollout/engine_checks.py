"""Refuses versions that the engine in params.yaml cannot answer with, before an alias is moved to them.

Knows the section `serve` and the tags of versions; does not know engines.
"""

import json

from components.config.serve import find_unsupported
from components.errors import ConfigError
from components.registry.mlflow.versions import DECODING_TAG, LORA_OUTSIDE_TAG, LORA_RANK_TAG, Version
from components.stages.workspace import Workspace


def check_engine(workspace: Workspace, version: Version) -> None:
    """Raise ConfigError if serve.engine is vllm without a fallback, and vLLM cannot answer with the version.

    Of a LoRA that an earlier release registered, without tags of its rank and layers, only the method is checked.
    """
    config = workspace.params.serve
    if config.engine == "local" or config.fallback == "local":
        return
    method, rank = version.tags.get("method") or "prefix", version.tags.get(LORA_RANK_TAG, "")
    outside = version.tags.get(LORA_OUTSIDE_TAG, "")
    problem = config.vllm.find_problem(method, int(rank) if rank.isdecimal() else None, outside)
    problem = problem or ", ".join(find_unsupported(_read_decoding(version)))
    if not problem:
        return
    lora = "set serve.vllm.max_lora_rank; or " if method == "lora" and not outside else ""
    raise ConfigError(
        "a version that the engine vllm can answer with (serve.engine)",
        f"version {version.version} of {version.tenant} with {problem}",
        f"{lora}set serve.fallback: local, so that the server answers it in its own process, or train another version",
    )


def _read_decoding(version: Version) -> dict[str, object]:
    try:
        decoding = json.loads(version.tags.get(DECODING_TAG) or "{}")
    except ValueError:
        return {}
    return decoding if isinstance(decoding, dict) else {}
