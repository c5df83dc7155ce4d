"""The engine that event loops call: check a request, load its artifact, queue its rows for the model thread.

Knows requests, artifacts and the limits of the queue; does not know HTTP or how a step is computed.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from components.errors import ConfigError
from components.model.base.load import Base
from components.model.base.tensor_parallel import check_whole
from components.model.decoding import DecodeRequest
from components.model.decoding.run_kinds import can_share_cache
from components.otel.spans import add_wait, current_span
from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.artifacts.cache import ArtifactCache, LoadedArtifact
from components.serving.engine.batch import DecoderBatch
from components.serving.engine.beams import SequenceBeams
from components.serving.engine.chat_prompts import find_tool_call_form
from components.serving.engine.detokenizer import IncrementalDetokenizer, make_decode
from components.serving.engine.grouped_batch import GroupedBatch
from components.serving.engine.model_thread import ModelThread
from components.serving.engine.row_trace import begin_row_trace
from components.serving.engine.sampler import make_draws
from components.serving.engine.schema_checks import SchemaChecker
from components.serving.engine.sequence import EngineSequence
from components.serving.engine.source_encoder import SourceEncoder, check_has_text
from components.serving.engine.token_rules import TokenRules, TokenRulesMaker, to_decoding
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
        is_shared = can_share_cache(base)
        if not is_shared:
            check_whole(base.model, f"{type(base.model).__name__}, whose rows have caches of their own")
        batch = DecoderBatch(base, rows, step_tokens) if is_shared else GroupedBatch(base, rows)
        places = rows - rows // _OTHERS_SHARE if is_shared else None
        self._model_thread = ModelThread(batch, self._release, places)
        self._pending_submissions: Counter[str] = Counter()
        self._encoder, self._decode = SourceEncoder(base), make_decode(base.tokenizer)
        self._schemas = SchemaChecker()
        self._rules_maker = TokenRulesMaker(base, self._encoder, self._schemas)
        self._text_stop_ids = (base.eos_id,)
        self.tool_call_form = find_tool_call_form(base)
        self._model_thread.start()

    async def submit(self, requests: Sequence[GenerationRequest]) -> Sequence[EngineAnswerStream]:
        """See `Engine.submit`."""
        artifact = requests[0].artifact
        for request in requests:
            self._check_request(request)
        with self._reserve_queue_places(artifact.tenant, len(requests)):
            began_ns = time.time_ns()
            loaded_artifact = await self.artifact_cache.acquire(artifact, len(requests))
            add_wait("load artifact", began_ns)
            try:
                sequences = await self._make_sequences(requests, loaded_artifact)
            except BaseException:
                self.artifact_cache.release(artifact, len(requests))
                raise
            self._model_thread.push(sequences)
        return [sequence.stream for sequence in sequences]

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

    def take_device_seconds(self) -> Mapping[str, float]:
        """See `Engine.take_device_seconds`."""
        return self._model_thread.device_time.take()

    async def drain(self) -> None:
        """See `Engine.drain`."""
        pool = FairThreadPool("shutdown")
        await pool.run(self._model_thread.shut_down)
        await pool.run(self.artifact_cache.close)
        await pool.run(self._encoder.close)
        await pool.run(self._schemas.close)

    def _check_request(self, request: GenerationRequest) -> None:
        places = request.num_beams * (1 if request.guidance in (0, 1) else 2)
        if places > self.limits.rows and not self.base.is_encoder_decoder:
            wanted = f"num_beams (twice, with guidance) of at most {self.limits.rows}, which is serve.rows"
            raise ConfigError(wanted, f"num_beams {request.num_beams}, guidance {request.guidance:g}", _PLACES_FIX)
        if request.controls.json_schema and request.num_beams > 1:
            raise ConfigError("a response_format without beams", f"num_beams {request.num_beams}", "send num_beams: 1")
        check_has_text(request.source)

    @contextmanager
    def _reserve_queue_places(self, tenant: str, count: int) -> Iterator[None]:
        """Count the rows as queued inside the block, while their artifact is loaded and their sources are encoded.

        A request with more rows than a limit has its places if nothing else is counted under that limit.

        Raises:
            BusyError: there are no places for all of the rows.
        """
        thread, limits = self._model_thread, self.limits
        with thread.condition:
            if not thread.is_alive:
                raise BusyError("a running engine", "an engine that is shutting down", _RETRY_FIX, retry_after=1.0)
            queued = len(thread.queue) + thread.pending_submissions
            own = thread.queue.count_waiting(tenant) + self._pending_submissions[tenant]
            if (queued and queued + count > limits.queue) or (own and own + count > limits.tenant_queue):
                wanted = f"at most {limits.queue} queued rows, and at most {limits.tenant_queue} of one tenant"
                got = f"{queued} queued rows, {own} of {tenant}, and {count} more"
                raise BusyError(wanted, got, _RETRY_FIX, retry_after=thread.throughput.estimate_seconds(own))
            thread.pending_submissions += count
            self._pending_submissions[tenant] += count
        try:
            yield
        finally:
            with thread.condition:
                thread.pending_submissions -= count
                self._pending_submissions[tenant] -= count
                if not self._pending_submissions[tenant]:
                    del self._pending_submissions[tenant]
                thread.condition.notify()

    async def _make_sequences(
        self, requests: Sequence[GenerationRequest], loaded_artifact: LoadedArtifact
    ) -> list[EngineSequence]:
        decoding = to_decoding(requests[0])
        rules = await self._rules_maker.make(requests[0])
        sources, is_chat = [one.source for one in requests], requests[0].is_chat
        encoded = await self._encoder.encode(loaded_artifact, sources, decoding, is_chat=is_chat)
        sequences = [
            self._make_sequence(request, loaded_artifact, encoded[request.source], rules) for request in requests
        ]
        span = current_span()
        if span.is_recording:
            for row, sequence in enumerate(sequences):
                sequence.trace = sequence.stream.trace = begin_row_trace(span, row)
        return sequences

    def _make_sequence(
        self,
        request: GenerationRequest,
        loaded_artifact: LoadedArtifact,
        decode_request: DecodeRequest,
        rules: TokenRules | None,
    ) -> EngineSequence:
        stream = EngineAnswerStream(
            len(decode_request.source),
            lambda: self._model_thread.cancel(sequence),
            is_streamed=request.is_streamed,
        )
        sequence = EngineSequence(
            request,
            loaded_artifact,
            decode_request,
            stream,
            IncrementalDetokenizer(self._decode, request.stop),
            make_draws(request),
            self.base.chat_codec.stop_ids if request.is_chat else self._text_stop_ids,
            rules,
        )
        if rules is not None:
            sequence.grammar = rules.make_grammar(sequence.stop_ids)
        if rules is not None and request.num_beams > 1:
            sequence.beams = SequenceBeams(self.base, request, decode_request.limit, rules)
        return sequence

    def _release(self, sequence: EngineSequence) -> None:
        self.artifact_cache.release(sequence.request.artifact)


_RETRY_FIX = "try again later"
_OTHERS_SHARE = 8
"""1/8 of the batch is left for other tenants' first rows."""
_PLACES_FIX = "send guidance 1 or fewer num_beams, or let the operator raise serve.rows"
