"""What the HTTP side and the engine say to each other: requests, pieces of answers, and the doors between them.

Knows words only: no HTTP, no model, no registry.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from components.errors import PrefixFleetError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """One tenant's version: what a request is answered under. Caches are keyed by `sha256`, never by name."""

    tenant: str
    version: str
    sha256: str
    """Of its tensors' file."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One row: a source to answer under one artifact.

    `sample_index` tells the rows of one prompt apart (OpenAI's n).
    """

    artifact: ArtifactRef
    source: str
    max_tokens: int = 96
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    sample_index: int = 0
    logprobs: int | None = None
    """So many likeliest tokens with their log probabilities beside each chosen one; 0: of the chosen one alone."""
    guidance: float = 1.0


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: its text, its log probability, and the likeliest others (text, log probability)."""

    text: str
    logprob: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """Text that has become certain (no stop string can take it back), its tokens, and why the row ended if it did."""

    text: str
    tokens: tuple[Token, ...] = ()
    finish: FinishReason | None = None


class BusyError(PrefixFleetError):
    """The queue is full, for all or for one tenant."""

    def __init__(self, wanted: str, got: str, fix: str, *, retry_after: float) -> None:
        super().__init__(wanted, got, fix)
        self.retry_after = retry_after
        """Seconds after which it is worth another try."""


class AnswerStream(Protocol):
    """One row on its way. Iterate from one event loop; leaving the iteration early cancels the row."""

    prompt_tokens: int

    def __aiter__(self) -> AsyncIterator[AnswerPiece]:
        """Pieces until one has `finish`. Raises PrefixFleetError where the row ended in trouble."""

    def cancel(self) -> None:
        """Let the row leave the batch at the next step; safe from any thread, more than once."""


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """How the engine is, for health pages and metrics."""

    ready: bool
    running: int
    queued: int
    device_artifacts: int
    host_artifacts: int
    device_artifact_bytes: int
    artifact_store_error: str = ""
    """What keeps artifacts from being loaded, where something does; what is resident is still answered for."""


class HeldArtifacts(Protocol):
    """The artifacts that an engine holds in memory and on disk; safe to use from any thread."""

    @property
    def owners(self) -> Mapping[str, str]:
        """The sha256 of each held artifact, and its tenant."""

    @property
    def store_error(self) -> str:
        """Why the artifact store did not answer the last fetch; "": it answered."""

    async def preload(self, artifact: ArtifactRef) -> None:
        """Load an artifact before a request needs it. Raises what `Engine.submit` raises."""

    def evict(self, sha256s: Iterable[str]) -> None:
        """Remove these from memory and disk; rows in flight finish with what they hold."""

    async def retry_failed_fetch(self) -> None:
        """Repeat the last fetch if it failed; raises nothing."""


class Engine(Protocol):
    """Many rows of many tenants, in one batch."""

    @property
    def base_name(self) -> str:
        """Name of the base that it serves."""

    @property
    def base_digest(self) -> str:
        """Digest of the base that it serves."""

    @property
    def artifact_cache(self) -> HeldArtifacts:
        """The artifacts that it holds."""

    async def submit(self, request: GenerationRequest) -> AnswerStream:
        """Queue one row.

        Raises:
            BusyError: the queue is full.
            DataError: the source is empty, or it and the prefix leave no room in the base's context.
            ArtifactError, BaseModelError, RegistryError: the artifact cannot be had; never answered by the plain base.
        """

    def health(self) -> EngineHealth:
        """How it is now; cheap, from any thread."""

    async def drain(self) -> None:
        """Let what is in flight finish, refuse what is new, and stop."""
