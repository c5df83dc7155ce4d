"""The engine of a server whose rows are computed by vLLM servers with PrefixFleet's plugin.

Knows requests, texts, artifacts and the group of engines; does not know the server's HTTP or MLflow.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from components.model.base.load import Base
from components.model.decoding import DecodeRequest
from components.otel.spans import add_wait
from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.chat_prompts import find_tool_call_form
from components.serving.engine.detokenizer import IncrementalDetokenizer, make_decode
from components.serving.engine.schema_checks import SchemaChecker
from components.serving.engine.source_encoder import SourceEncoder, check_has_text
from components.serving.engine.token_rules import to_decoding
from components.serving.interface import ArtifactRef, EngineHealth, GenerationRequest
from components.serving.remote.continuation import can_continue, skip_known_tokens
from components.serving.remote.held_artifacts import RemoteArtifacts
from components.serving.remote.reply_events import ReplyEvent
from components.serving.remote.request_body import StoredArtifact, check_supported, make_body
from components.serving.remote.row import RemoteRow
from components.serving.remote.row_limits import RowLimits
from components.serving.remote.server_group import ServerGroup


class RemoteEngine:
    """See `components.serving.interface.Engine`."""

    def __init__(
        self,
        base: Base,
        artifact_cache: RemoteArtifacts,
        servers: ServerGroup,
        limits: RowLimits,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`base` encodes texts and needs no weights; `on_close` ends what was started for this engine."""
        self.base, self.artifact_cache = base, artifact_cache
        self.base_name, self.base_digest = base.name, base.digest
        self.tool_call_form = find_tool_call_form(base)
        self._servers, self._limits, self._on_close = servers, limits, on_close
        self._encoder, self._decode = SourceEncoder(base), make_decode(base.tokenizer)
        self._schemas = SchemaChecker()
        self._rows: set[asyncio.Task[None]] = set()
        self._is_draining = False

    async def submit(self, requests: Sequence[GenerationRequest]) -> Sequence[EngineAnswerStream]:
        """See `Engine.submit`."""
        artifact, count = requests[0].artifact, len(requests)
        for request in requests:
            check_supported(request)
            check_has_text(request.source)
        if schema := requests[0].controls.json_schema:
            await self._schemas.check(schema, artifact.tenant)
        self._limits.add(artifact.tenant, count)
        try:
            began_ns = time.time_ns()
            loaded, stored = await self.artifact_cache.acquire(artifact, count)
            add_wait("load artifact", began_ns)
            try:
                first, sources = requests[0], [request.source for request in requests]
                encoded = await self._encoder.encode(loaded, sources, to_decoding(first), is_chat=first.is_chat)
            except BaseException:
                self.artifact_cache.release(artifact, count)
                raise
        except BaseException:
            self._limits.remove(artifact.tenant, count)
            raise
        return [self._start_row(request, stored, encoded[request.source]) for request in requests]

    def health(self) -> EngineHealth:
        """See `Engine.health`. Rows that wait in an engine count as running."""
        verified, _, _ = self.artifact_cache.counts
        return EngineHealth(
            ready=self._servers.is_up and not self._is_draining,
            running=self._limits.total,
            queued=0,
            device_artifacts=verified,
            host_artifacts=0,
            device_artifact_bytes=0,
            artifact_store_error=self.artifact_cache.store_error,
            servers=self._servers.states,
        )

    def take_device_seconds(self) -> Mapping[str, float]:
        """See `Engine.take_device_seconds`. Each vLLM server counts as one device."""
        return self._servers.take_device_seconds()

    async def drain(self) -> None:
        """See `Engine.drain`."""
        self._is_draining = True
        if self._rows:
            await asyncio.wait(self._rows)
        await self._servers.close()
        await self.artifact_cache.close()
        self._encoder.close()
        self._schemas.close()
        if self._on_close is not None:
            await self._on_close()

    def _start_row(
        self, request: GenerationRequest, stored: StoredArtifact, decode_request: DecodeRequest
    ) -> EngineAnswerStream:
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(task.cancel)

        stream = EngineAnswerStream(len(decode_request.source), cancel)
        stop_ids = self.base.chat_codec.stop_ids if request.is_chat else (self.base.eos_id,)
        row = RemoteRow(
            stream,
            IncrementalDetokenizer(self._decode, request.stop),
            stop_ids,
            decode_request.limit,
            partial(self._open_reply, request, decode_request, stored, stop_ids),
        )
        task = loop.create_task(row.run())
        self._rows.add(task)
        task.add_done_callback(partial(self._end_row, request.artifact))
        return stream

    def _open_reply(
        self,
        request: GenerationRequest,
        decode_request: DecodeRequest,
        stored: StoredArtifact,
        stop_ids: Sequence[int],
        known: Sequence[int],
    ) -> AsyncGenerator[ReplyEvent]:
        goes_on = can_continue(request)
        body = make_body(request, decode_request, stored, stop_ids, known if goes_on else ())
        reply = self._servers.stream_reply(body, stored, request.logprobs or 0)
        return reply if goes_on or not known else skip_known_tokens(reply, known)

    def _end_row(self, artifact: ArtifactRef, task: "asyncio.Task[None]") -> None:
        self._rows.discard(task)
        self.artifact_cache.release(artifact)
        self._limits.remove(artifact.tenant)
