"""An engine and a registry in memory for the tests of the server: no model, no MLflow."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from components.errors import DataError, PrefixFleetError, RegistryError
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.serving.interface import (
    AnswerPiece,
    ArtifactRef,
    BusyError,
    EngineHealth,
    FinishReason,
    GenerationRequest,
    Token,
    ToolCallForm,
)


class FakeRegistry:
    """Versions and aliases, with the methods of `Registry` that serving calls; set `fails` to make them raise."""

    def __init__(self) -> None:
        self.fails = False
        self.seeds: dict[str, int] = {}
        """sha256 -> the seed of its content."""
        self.prefix_lengths: dict[str, int] = {}
        self._versions: dict[str, list[Version]] = {}
        self._aliases: dict[str, dict[str, str]] = {}

    def register(self, tenant: str, seed: int, *aliases: str, form: str = "", length: int = 2, **tags: str) -> str:
        """Register a version whose answers depend on `seed`; returns its number."""
        own = self._versions.setdefault(tenant, [])
        number = str(len(own) + 1)
        sha256 = hashlib.sha256(f"{tenant} {number} {seed}".encode()).hexdigest()
        self.seeds[sha256], self.prefix_lengths[sha256] = seed, length
        own.append(Version(tenant, number, sha256=sha256, tags={"record_form": form, **tags}))
        for alias in aliases:
            self.set_alias(tenant, alias, number)
        return number

    def register_by_hand(self, tenant: str, *aliases: str) -> None:
        """Register a version that has no artifact, as `mlflow.pyfunc.log_model` does."""
        own = self._versions.setdefault(tenant, [])
        own.append(Version(tenant, str(len(own) + 1)))
        for alias in aliases:
            self.set_alias(tenant, alias, own[-1].version)

    def set_alias(self, tenant: str, alias: str, number: str) -> None:
        self._aliases.setdefault(tenant, {})[alias] = number

    def delete_alias(self, tenant: str, alias: str) -> None:
        del self._aliases[tenant][alias]

    def find_champion(self, tenant: str) -> Version:
        return self.poll_aliased(CHAMPION)[CHAMPION][tenant]

    def find_challenger(self, tenant: str) -> Version:
        return self.poll_aliased(CHALLENGER)[CHALLENGER][tenant]

    def poll_aliased(self, *aliases: str) -> dict[str, dict[str, Version]]:
        self._check()
        return {
            alias: {
                tenant: self._versions[tenant][int(own[alias]) - 1]
                for tenant, own in self._aliases.items()
                if alias in own
            }
            for alias in aliases
        }

    def find_versions(self, tenant: str) -> list[Version]:
        self._check()
        return [replace(version) for version in self._versions.get(tenant, [])]

    def find_sha256s(self, tenants: Collection[str]) -> dict[str, set[str]]:
        self._check()
        return {tenant: {version.sha256 for version in self._versions.get(tenant, [])} for tenant in tenants}

    def _check(self) -> None:
        if self.fails:
            raise RegistryError("every tenant's champion", "no answer", "start MLflow")


class NoArtifacts:
    """The artifact cache of an engine that has none."""

    owners: ClassVar[dict[str, str]] = {}
    resident: ClassVar[dict[str, str]] = {}
    load_errors: ClassVar[dict[str, str]] = {}
    store_error = ""

    async def preload(self, artifact: ArtifactRef) -> None:
        pass

    def evict(self, sha256s: Iterable[str]) -> None:
        pass

    async def retry_failed_fetch(self) -> None:
        pass


class FakeStream:
    """`max_tokens` words, one at a time."""

    prompt_tokens = 3

    def __init__(self, engine: "FakeEngine", request: GenerationRequest) -> None:
        self._engine, self._request = engine, request
        self.cancelled = False
        self.completion_tokens = engine.words_ahead

    async def __aiter__(self) -> AsyncIterator[AnswerPiece]:
        offset = 0
        seed, count = self._engine.registry.seeds[self._request.artifact.sha256], self._request.max_tokens
        words = self._engine.words
        count = count if words is None else len(words)
        for number in range(count):
            while not self._engine.may_go_on.is_set():
                await asyncio.sleep(0.001)
            if self._engine.row_error is not None and number == self._engine.words_before_error:
                raise self._engine.row_error
            self.completion_tokens = min(number + 1 + self._engine.words_ahead, count)
            is_last = number == count - 1
            text = f"{seed}.{number}" if is_last else f"{seed}.{number} "
            finish: FinishReason = "length"
            if words is not None:
                text, finish = words[number], "stop"
            yield AnswerPiece(text, (Token(text, -0.5, ((text, -0.5),), offset),), finish if is_last else None)
            offset += len(text)

    def cancel(self) -> None:
        self.cancelled = True
        self._engine.cancelled.append(self)


class FakeEngine:
    """Answers with words that depend on the artifact. Clear `may_go_on` to hold answers back; set `full` to be busy.

    `errors` maps a sha256 to the error that its rows get; `requests` are all rows that were accepted.
    """

    base_name, base_digest = "tiny", "b" * 64
    tool_call_form = ToolCallForm('<tool_call>\n{"name": "', '", "arguments": ')
    context = 160
    """Characters of a source and slots of its prefix."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.artifact_cache = NoArtifacts()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.full = False
        self.queued = 0
        self.errors: dict[str, PrefixFleetError] = {}
        self.row_error: PrefixFleetError | None = None
        """What ends every row after `words_before_error` words."""
        self.words_before_error = 0
        self.words_ahead = 0
        """How many words every row has generated beyond those that its reader has got."""
        self.device_seconds: dict[str, float] = {}
        self.words: list[str] | None = None
        """What every row answers, a word a token; None: words that depend on the artifact."""
        self.requests: list[GenerationRequest] = []
        self.cancelled: list[FakeStream] = []

    async def submit(self, requests: Sequence[GenerationRequest]) -> list[FakeStream]:
        if self.full:
            raise BusyError("a place in the queue", "a full one", "try again", retry_after=2.5)
        for request in requests:
            sha256 = request.artifact.sha256
            if sha256 in self.errors:
                raise self.errors[sha256]
            if len(request.source) + self.registry.prefix_lengths[sha256] > self.context:
                raise DataError("a source that fits beside the prefix", "a longer one", "shorten it")
        self.requests += requests
        return [FakeStream(self, request) for request in requests]

    def health(self) -> EngineHealth:
        return EngineHealth(True, len(self.requests), self.queued, 1, 0, 1000)

    def take_device_seconds(self) -> dict[str, float]:
        taken, self.device_seconds = self.device_seconds, {}
        return taken

    async def drain(self) -> None:
        self.may_go_on.set()
