"""The reply to the order `status`: what is in memory, the last errors, and what this vLLM takes. Pure."""

from collections.abc import Collection
from typing import Any

from prefixfleet_vllm.resident_artifacts import Resident, ResidentArtifacts


def describe_memory(
    residents: ResidentArtifacts, sha256s: Collection[str], max_lora_rank: int, warning: str
) -> dict[str, Any]:
    """Return the reply for these artifacts, or for all if none is named; `max_lora_rank` is 0 without LoRA."""
    chosen = [one for one in residents.residents if not sha256s or one.artifact.sha256 in sha256s]
    errors = {key: error for key, error in residents.last_errors.items() if not sha256s or key in sha256s}
    return {
        "artifacts": {one.artifact.sha256: _describe(one) for one in chosen},
        "errors": {key: {"kind": kind, "error": text} for key, (kind, text) in errors.items()},
        "used_bytes": residents.used_bytes,
        "limit_bytes": residents.limit_bytes,
        "base_digests": sorted(residents.base_digests),
        "max_lora_rank": max_lora_rank,
        "max_loras": residents.max_loras,
        "warning": warning,
    }


def _describe(one: Resident) -> dict[str, Any]:
    state = "failed" if one.error is not None else "loaded" if one.is_loaded else "loading"
    return {
        "tenant": one.artifact.tenant,
        "method": one.artifact.method,
        "state": state,
        "bytes": one.size_bytes,
        "pinned": one.pinned,
    }
