"""The engine's door: what an event loop calls. Checks, bounds and fetches; the model's thread does the rest.

Knows requests, artifacts and the queue's bounds; does not know HTTP or how a step computes.
"""

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from components.errors import ConfigError, DataError
from components.model.base.load import Base
from components.model.decoding import Decoding, make_requests
from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.artifacts.cache import ArtifactCache, LoadedArtifact
from components.serving.engine.batch import DecoderBatch
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.engine.model_thread import ModelThread
from components.serving.engine.sampler import make_draws
from components.serving.engine.seq2seq_batch import Seq2SeqBatch
from components.serving.engine.sequence import EngineSequence
from components.serving.interface import BusyError, EngineHealth, GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """How much is done at once, and how much may wait."""

    rows: int = 64
    """Rows of all tenants in one step; a row with guidance counts twice."""
    step_tokens: int = 256
    """Tokens that a step reads, about: long sources are read in pieces beside the rows that write."""
    queue: int = 1024
    """Rows that wait."""
    tenant_queue: int = 256
    """Rows of one tenant that wait."""


class BatchEngine:
    """See `components.serving.interface.Engine`."""

    def __init__(self, base: Base, artifact_cache: ArtifactCache, limits: EngineLimits | None = None) -> None:
        """Start the model's thread.

        Raises:
            BaseModelError: the base cannot compute rows of many tenants at once.
        """
        self.base, self.artifact_cache, self.limits = base, artifact_cache, limits or EngineLimits()
        self.base_name, self.base_digest = base.name, base.digest
        rows, paired = self.limits.rows, base.is_encoder_decoder
        batch = Seq2SeqBatch(base, rows) if paired else DecoderBatch(base, rows, self.limits.step_tokens)
        self._model_thread = ModelThread(batch, base.eos_id, self._release)
        self._pending_submissions: Counter[str] = Counter()
        self._decode = _make_decode(base)
        self._model_thread.start()

    async def submit(self, request: GenerationRequest) -> EngineAnswerStream:
        """See `Engine.submit`."""
        tenant = request.artifact.tenant
        if request.guidance not in (0, 1) and self.limits.rows < 2 and not self.base.is_encoder_decoder:
            raise ConfigError("guidance of 0 or 1", f"{request.guidance:g}, with places for one row", _GUIDANCE_FIX)
        if not request.source.strip():
            raise DataError("a source text", "an empty one", "give text as in the tenant's data")
        with self._reserve_queue_place(tenant):
            resident = await self.artifact_cache.acquire(request.artifact)
            try:
                row = self._make_sequence(request, resident)
            except BaseException:
                self.artifact_cache.release(request.artifact)
                raise
            self._model_thread.push(row)
        return row.stream

    def health(self) -> EngineHealth:
        """See `Engine.health`."""
        device, host, size = self.artifact_cache.counts
        return EngineHealth(
            ready=self._model_thread.is_alive,
            running=self._model_thread.running,
            queued=len(self._model_thread.queue),
            device_artifacts=device,
            host_artifacts=host,
            device_artifact_bytes=size,
            artifact_store_error=self.artifact_cache.store_error,
        )

    async def drain(self) -> None:
        """See `Engine.drain`."""
        await asyncio.to_thread(self._model_thread.shut_down)
        await asyncio.to_thread(self.artifact_cache.close)

    @contextmanager
    def _reserve_queue_place(self, tenant: str) -> Iterator[None]:
        """Count a row that is about to wait. Raises BusyError."""
        worker, limits = self._model_thread, self.limits
        with worker.condition:
            waiting, own = (
                len(worker.queue) + worker.pending_submissions,
                worker.queue.count_waiting(tenant) + self._pending_submissions[tenant],
            )
            if not worker.is_alive:
                raise BusyError(
                    "an engine that takes requests", "one that is shutting down", _RETRY_FIX, retry_after=1.0
                )
            if waiting >= limits.queue or own >= limits.tenant_queue:
                got = f"{waiting} rows that wait, {own} of {tenant}"
                wanted = f"fewer than {limits.queue} rows that wait, and {limits.tenant_queue} of a tenant"
                raise BusyError(wanted, got, _RETRY_FIX, retry_after=worker.throughput.estimate_seconds(own))
            worker.pending_submissions += 1
            self._pending_submissions[tenant] += 1
        try:
            yield
        finally:
            with worker.condition:
                worker.pending_submissions -= 1
                self._pending_submissions[tenant] -= 1
                if not self._pending_submissions[tenant]:
                    del self._pending_submissions[tenant]
                worker.condition.notify()

    def _make_sequence(self, request: GenerationRequest, resident: LoadedArtifact) -> EngineSequence:
        decoding = Decoding(
            max_new_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            guidance=request.guidance,
            seed=request.seed,
        )
        (work,) = make_requests(self.base, resident.delta, [request.source], decoding, resident.max_source_tokens)
        answer = EngineAnswerStream(len(work.source), lambda: self._model_thread.cancel(row))
        writing = IncrementalDetokenizer(self._decode, request.stop)
        row = EngineSequence(request, resident, work, answer, writing, make_draws(request))
        return row

    def _release(self, row: EngineSequence) -> None:
        self.artifact_cache.release(row.request.artifact)


_RETRY_FIX = "try again later"
_DECODE_CACHE_SIZE = 1 << 16
"""Texts kept of the one or two ids that a new token is looked at with; they come again and again."""
_GUIDANCE_FIX = "leave guidance out, or let the operator set serve.rows to 2 or more"


def _make_decode(base: Base) -> Callable[[Sequence[int]], str]:
    """Ids as text in the model's thread: a copy, since a tokenizer that encodes must not be used meanwhile."""
    tokenizer = copy.deepcopy(base.tokenizer)

    @lru_cache(_DECODE_CACHE_SIZE)
    def decoded(ids: tuple[int, ...]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return lambda ids: decoded(tuple(ids))
