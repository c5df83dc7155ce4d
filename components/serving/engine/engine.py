"""The engine that event loops call: check a request, load its artifact, queue its row for the model thread.

Knows requests, artifacts and the limits of the queue; does not know HTTP or how a step is computed.
"""

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
from components.serving.thread_pool import FairThreadPool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """The size of the batch and of the queue."""

    rows: int = 64
    """Rows of all tenants in one step; a row with guidance counts twice."""
    step_tokens: int = 256
    """About how many tokens a step reads; a long source is read in pieces over several steps."""
    queue: int = 1024
    """Queued rows of all tenants; beyond it requests get 429."""
    tenant_queue: int = 256
    """Queued rows of one tenant; beyond it the tenant's requests get 429."""


class BatchEngine:
    """See `components.serving.interface.Engine`."""

    def __init__(self, base: Base, artifact_cache: ArtifactCache, limits: EngineLimits | None = None) -> None:
        """Start the model thread.

        Raises:
            BaseModelError: the base cannot compute rows of many tenants in one batch.
        """
        self.base, self.artifact_cache, self.limits = base, artifact_cache, limits or EngineLimits()
        self.base_name, self.base_digest = base.name, base.digest
        rows, step_tokens = self.limits.rows, self.limits.step_tokens
        batch = Seq2SeqBatch(base, rows) if base.is_encoder_decoder else DecoderBatch(base, rows, step_tokens)
        self._model_thread = ModelThread(batch, base.eos_id, self._release)
        self._pending_submissions: Counter[str] = Counter()
        self._decode = _make_decode(base)
        self._model_thread.start()

    async def submit(self, request: GenerationRequest) -> EngineAnswerStream:
        """See `Engine.submit`."""
        tenant = request.artifact.tenant
        if request.guidance not in (0, 1) and self.limits.rows < 2 and not self.base.is_encoder_decoder:
            raise ConfigError("guidance of 0 or 1, as serve.rows is 1", f"{request.guidance:g}", _GUIDANCE_FIX)
        if not request.source.strip():
            raise DataError("a source text", "an empty text", "send text as in the tenant's data")
        with self._reserve_queue_place(tenant):
            loaded_artifact = await self.artifact_cache.acquire(request.artifact)
            try:
                sequence = self._make_sequence(request, loaded_artifact)
            except BaseException:
                self.artifact_cache.release(request.artifact)
                raise
            self._model_thread.push(sequence)
        return sequence.stream

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
        pool = FairThreadPool("shutdown")
        await pool.run(self._model_thread.shut_down)
        await pool.run(self.artifact_cache.close)

    @contextmanager
    def _reserve_queue_place(self, tenant: str) -> Iterator[None]:
        """Count one row as queued inside the block, while its artifact is loaded. Raises BusyError."""
        thread, limits = self._model_thread, self.limits
        with thread.condition:
            if not thread.is_alive:
                raise BusyError("a running engine", "an engine that is shutting down", _RETRY_FIX, retry_after=1.0)
            queued = len(thread.queue) + thread.pending_submissions
            own = thread.queue.count_waiting(tenant) + self._pending_submissions[tenant]
            if queued >= limits.queue or own >= limits.tenant_queue:
                wanted = f"fewer than {limits.queue} queued rows, and fewer than {limits.tenant_queue} of one tenant"
                got = f"{queued} queued rows, {own} of {tenant}"
                raise BusyError(wanted, got, _RETRY_FIX, retry_after=thread.throughput.estimate_seconds(own))
            thread.pending_submissions += 1
            self._pending_submissions[tenant] += 1
        try:
            yield
        finally:
            with thread.condition:
                thread.pending_submissions -= 1
                self._pending_submissions[tenant] -= 1
                if not self._pending_submissions[tenant]:
                    del self._pending_submissions[tenant]
                thread.condition.notify()

    def _make_sequence(self, request: GenerationRequest, loaded_artifact: LoadedArtifact) -> EngineSequence:
        decoding = Decoding(
            max_new_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            guidance=request.guidance,
            seed=request.seed,
        )
        delta, max_source_tokens = loaded_artifact.delta, loaded_artifact.max_source_tokens
        (decode_request,) = make_requests(self.base, delta, [request.source], decoding, max_source_tokens)
        stream = EngineAnswerStream(len(decode_request.source), lambda: self._model_thread.cancel(sequence))
        detokenizer = IncrementalDetokenizer(self._decode, request.stop)
        sequence = EngineSequence(request, loaded_artifact, decode_request, stream, detokenizer, make_draws(request))
        return sequence

    def _release(self, sequence: EngineSequence) -> None:
        self.artifact_cache.release(sequence.request.artifact)


_RETRY_FIX = "try again later"
_DECODE_CACHE_SIZE = 1 << 16
"""Texts. Each new token is decoded alone and together with the one before it, and these pairs recur."""
_GUIDANCE_FIX = "remove guidance, or let the operator set serve.rows to 2 or more"


def _make_decode(base: Base) -> Callable[[Sequence[int]], str]:
    """Return a cached decode function with a tokenizer of its own: other threads encode with the base's."""
    tokenizer = copy.deepcopy(base.tokenizer)

    @lru_cache(_DECODE_CACHE_SIZE)
    def decode(ids: tuple[int, ...]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return lambda ids: decode(tuple(ids))
