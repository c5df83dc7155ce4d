"""The interface between HTTP and the engine: requests, pieces of answers, and the protocols that an engine implements.

Knows data types only; does not know HTTP, a model or a registry.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from components.errors import PrefixFleetError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """One tenant's version. Caches are keyed by `sha256`, never by name."""

    tenant: str
    version: str
    sha256: str
    """Of the file of its tensors."""


@dataclass(frozen=True, slots=True)
class TokenControls:
    """What changes the probabilities of a row's next tokens; with the defaults nothing does."""

    min_new_tokens: int = 0
    """End-of-text is impossible before this many new tokens."""
    repetition_penalty: float = 1.0
    """As in `DecodingControls`; 1 is off."""
    no_repeat_ngram: int = 0
    """No sequence of this many new tokens is generated twice; 0 is off."""
    banned: tuple[str, ...] = ()
    """Texts that are never generated."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of each token that the answer has."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time that the answer has it."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(Token id, what is added to its logit)."""
    json_schema: str = ""
    """The JSON schema of the answer, as JSON; "": any text."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One row: a source to answer with one artifact. A request over HTTP has prompts times n rows."""

    artifact: ArtifactRef
    source: str
    is_chat: bool = False
    """Whether the source is a conversation: JSON with `messages`, and perhaps `tools`, of OpenAI's form."""
    max_tokens: int = 96
    temperature: float = 0.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    top_k: int = 0
    """Sample from this many likeliest tokens; 0: from all."""
    num_beams: int = 1
    """Beams of the search; its answer comes as a whole, without log probabilities."""
    length_penalty: float = 1.0
    """The score of a beam is the sum of its log probabilities / length ** length_penalty."""
    stop: tuple[str, ...] = ()
    seed: int = 0
    sample_index: int = 0
    """Number of the sample among the n samples of one prompt."""
    logprobs: int | None = None
    """How many of the likeliest tokens to return with each generated token; 0: its own log probability only; None: no
    log probabilities."""
    guidance: float = 1.0
    controls: TokenControls = TokenControls()
    is_streamed: bool = True
    """Whether each piece is wanted within hundredths of a second; otherwise, after the first, several come together."""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token, its log probability, and the likeliest tokens as (text, log probability)."""

    text: str
    """What it adds to the row's text; "" for a space at its ends, and for a part of a character but the last."""
    logprob: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    offset: int = 0
    """Where its text begins in the row's text, in characters."""


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """A piece of final text (no later stop string can remove it), its tokens, and the reason if the row has ended."""

    text: str
    tokens: tuple[Token, ...] = ()
    finish: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class ToolCallForm:
    """How the base's chat template writes a tool call: this, the name, `between`, and the arguments as JSON."""

    before_name: str
    between: str


class BusyError(PrefixFleetError):
    """The queue is full, for all tenants or for one, or memory is used up for now."""

    def __init__(self, wanted: str, got: str, fix: str, *, retry_after: float) -> None:
        super().__init__(wanted, got, fix)
        self.retry_after = retry_after
        """Seconds after which to retry."""


class AnswerStream(Protocol):
    """The answer to one row. Iterate from one event loop; leaving the iteration early cancels the row."""

    prompt_tokens: int
    completion_tokens: int
    """Tokens generated so far, read or not, that the answer would have if it ended now."""

    def __aiter__(self) -> AsyncIterator[AnswerPiece]:
        """Yield pieces; the last one has `finish`. Raises PrefixFleetError if the row failed."""

    def cancel(self) -> None:
        """Remove the row from the batch at the next step; may be called from any thread, and repeatedly."""


@dataclass(frozen=True, slots=True)
class EngineServer:
    """The state of one of the servers that an engine asks."""

    url: str
    down_reason: str
    """Why it is not asked; "": it answers."""
    in_flight: int
    """Rows that it answers now."""


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """The state of the engine, for health checks and metrics."""

    ready: bool
    running: int
    """Rows in the batch."""
    queued: int
    """Rows that wait for a place in the batch."""
    device_artifacts: int
    host_artifacts: int
    device_artifact_bytes: int
    artifact_store_error: str = ""
    """Why the artifact store did not answer the last fetch; "": it answered. Loaded artifacts stay in use."""
    servers: Sequence[EngineServer] = ()
    """Of an engine that asks others."""


class HeldArtifacts(Protocol):
    """The artifacts that an engine holds in memory and on disk; safe to use from any thread."""

    @property
    def owners(self) -> Mapping[str, str]:
        """The sha256 of each artifact in memory or on disk, and its tenant."""

    @property
    def resident(self) -> Mapping[str, str]:
        """The sha256 of each artifact in memory, and its tenant."""

    @property
    def store_error(self) -> str:
        """Why the artifact store did not answer the last fetch; "": it answered."""

    @property
    def load_errors(self) -> Mapping[str, str]:
        """The sha256 of each artifact whose files are missing, damaged or of another base at its last load, and why."""

    async def preload(self, artifact: ArtifactRef) -> None:
        """Load an artifact before a request needs it. Raises what `Engine.submit` raises."""

    def evict(self, sha256s: Iterable[str]) -> None:
        """Remove these from memory and disk; rows in flight finish with what they hold."""

    async def retry_failed_fetch(self) -> None:
        """Repeat the last fetch if it failed; raises nothing."""


class Engine(Protocol):
    """Answers rows of many tenants in one batch."""

    @property
    def base_name(self) -> str:
        """Name of the base that it serves."""

    @property
    def base_digest(self) -> str:
        """Digest of the base that it serves."""

    @property
    def tool_call_form(self) -> ToolCallForm | None:
        """How the base writes tool calls; None: it has no chat template, or none with tool calls as JSON."""

    @property
    def artifact_cache(self) -> HeldArtifacts:
        """The artifacts that it holds."""

    async def submit(self, requests: Sequence[GenerationRequest]) -> Sequence[AnswerStream]:
        """Queue all rows of a request, or none of them.

        The rows have the same artifact and settings; their sources and the numbers of their samples differ.

        Raises:
            BusyError: the queue has no places for all of them; found out before any other work.
            DataError: a source is empty, or too long for the base's context together with the prefix.
            ArtifactError, BaseModelError, RegistryError: the artifact cannot be loaded; the base alone never answers.
        """

    def health(self) -> EngineHealth:
        """Return the current state; cheap, and safe from any thread."""

    def take_device_seconds(self) -> Mapping[str, float]:
        """Return tenant -> device time of its rows that have ended since the last call; safe from any thread."""

    async def drain(self) -> None:
        """Finish the rows in flight, refuse new ones, and stop."""
