"""Errors of a remote engine: it does not answer, its answer is broken, or it refuses a request.

Knows vLLM's errors and those of PrefixFleet's plugin; does not know HTTP.
"""

from collections.abc import Mapping
from typing import Any

from components.errors import ArtifactError, BaseModelError, PrefixFleetError, RegistryError
from components.serving.errors import RefusalError, UnsupportedArtifactError
from components.serving.interface import BusyError

_RETRY_S = 1.0
ENGINE_FAULT = "engine_fault"
"""Code of an error that an engine's answer ended with."""


class ServerDownError(RefusalError):
    """One engine does not answer; another may. A client gets 503."""

    def __init__(self, got: str, fix: str = "try again later") -> None:
        super().__init__(503, "an engine that answers", got, fix, code="unavailable", retry_after=_RETRY_S)


class BrokenReplyError(RefusalError):
    """An engine's answer is no answer in vLLM's protocol. A client gets 502."""

    def __init__(self, got: str) -> None:
        fix = "look at the engine's log; its vLLM must be of a release that the plugin names"
        super().__init__(502, "an answer in vLLM's protocol", got, fix, code=ENGINE_FAULT)


def read_error(error: Any) -> PrefixFleetError:
    """Return the error that vLLM reports in an event or in a body."""
    fields = error if isinstance(error, Mapping) else {}
    message = str(fields.get("message") or error)[:500]
    if fields.get("code") == 400:
        return RefusalError(400, "a request that the engine vllm answers", message, "correct the request")
    return RefusalError(502, "an answer of the engine vllm", message, "look at the engine's log", code=ENGINE_FAULT)


def read_load_error(kind: str, message: str) -> PrefixFleetError:
    """Return the error of an artifact that the plugin could not load; `kind` is the plugin's."""
    wanted, fix = "an artifact that the engine can load", "look at the engine's log and its store"
    if kind == "memory":
        return BusyError(wanted, message, "retry later, or raise the plugin's resident_mb", retry_after=_RETRY_S)
    kinds = {
        "artifact": ArtifactError,
        "base": BaseModelError,
        "store": RegistryError,
        "setup": UnsupportedArtifactError,
    }
    return kinds.get(kind, ArtifactError)(wanted, message, fix)
