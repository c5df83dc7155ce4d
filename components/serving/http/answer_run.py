"""Run one request for text: choose the version, queue the rows, collect the answer, record its metrics.

Knows the service and the format of the endpoint's answers; does not know how a response is sent.
"""

import logging
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from pydantic import BaseModel

from components.errors import ArtifactError, BaseModelError, DataError, PrefixFleetError
from components.logs import LoggedFields, add_log_context
from components.otel.spans import current_span
from components.registry.judged_decoding import compute_default_max_tokens
from components.registry.mlflow.versions import CHAMPION, Version
from components.rollout.types import EvidenceTicket, Observation
from components.serving.errors import LOGGER_NAME, SERVER_ERRORS
from components.serving.fleet.observation_buffer import make_failure_observation, make_observation
from components.serving.fleet.shadow import ShadowRequest
from components.serving.fleet.version_checks import make_not_found_error
from components.serving.fleet.versions import VersionChoice
from components.serving.http.answer_form import AnswerForm, AnswerStamp
from components.serving.http.answer_memory import RememberedAnswer
from components.serving.http.api_route import is_counted_on_arrival
from components.serving.http.auth import Caller
from components.serving.http.openai_fields import Usage
from components.serving.http.service import Service
from components.serving.interface import AnswerPiece, GenerationRequest, Token
from components.serving.request_sequences import RequestSequences

CLIENT_DISCONNECTED = 499
"""The status that is counted if the client has disconnected; it is never sent."""
_VERSION_ERRORS = (ArtifactError, BaseModelError)
"""Errors that count against the version."""


async def prepare_answer(
    service: Service, caller: Caller, form: AnswerForm, request_id: str, key: str | None = None
) -> "AnswerRun":
    """Choose the version that answers: by the user, or by the request's own `key`, or at random.

    Raises:
        DataError, RefusalError: 404, no such version, or not the caller's; 400, more than is allowed; 503, not ready.
    """
    body = form.body
    tenant, at, selector = body.model.partition("@")
    caller.check_access(tenant)
    service.get_ready_engine()
    if at and not selector:
        raise make_not_found_error(f"{tenant}@ without a version")
    splits_by_user = service.fleet.has_tenant(tenant) and service.get_tenant_params(tenant).rollout.split == "user"
    user = body.end_user if splits_by_user else None
    choice = await service.fleet.choose(tenant, selector, user or key)
    is_counted = is_counted_on_arrival(caller)
    return AnswerRun(service, form, request_id, choice, is_user=bool(user), is_counted=is_counted)


class AnswerRun:
    """One request: call `start`, then `stream_chunks` or `collect_answer`, and always `finish`."""

    def __init__(
        self,
        service: Service,
        form: AnswerForm,
        request_id: str,
        choice: VersionChoice,
        *,
        is_user: bool,
        is_counted: bool,
    ) -> None:
        """Queue nothing yet. `is_user`: the version was chosen by the user, not by the request's id or at random.

        `is_counted`: the quota of requests has this one already.

        Raises:
            DataError, RefusalError: 400, an empty prompt, or more than the tenant's limits.
        """
        self.service, self.form, self.choice = service, form, choice
        self.stamp = AnswerStamp(f"{form.id_start}{secrets.token_hex(12)}", int(time.time()), form.body.model)
        self.tenant = choice.version.tenant
        add_log_context(tenant=self.tenant, version=choice.version.version)
        current_span().set(tenant=self.tenant, version=choice.version.version, arm=choice.arm)
        self._is_split, self._is_user, self._is_counted = "@" not in form.body.model, is_user, is_counted
        self._request_id = request_id
        self._started_s = time.monotonic()
        self._was_known = service.fleet.has_tenant(self.tenant)
        self._sequences = RequestSequences(self._make_requests(choice.version))
        self._reserved = 0
        self._base_digest = ""
        self._is_finished = False

    async def start(self) -> None:
        """Count the request against the tenant's quota, and queue its rows.

        If the traffic split chose the challenger and its artifact cannot be loaded, or a source is too long beside its
        prefix, the champion answers instead. An artifact that is damaged or of another base counts as a failure of the
        challenger.

        Raises:
            RefusalError: 429, over quota or the tenant's budget is spent; 503, not ready.
            DataError, BusyError, ArtifactError, BaseModelError, RegistryError, WorkspaceError: as `Engine.submit`.
        """
        engine = self.service.get_ready_engine()
        await self.service.budget_gate.check(self.tenant)
        reserved = sum(result.request.max_tokens for result in self._sequences.results)
        await self.service.quotas.admit(self.tenant, reserved, requests=0 if self._is_counted else 1)
        self._reserved, self._base_digest = reserved, engine.base_digest
        try:
            await self._sequences.submit(engine)
        except (*SERVER_ERRORS, DataError) as problem:
            self._count_failure(problem)
            if self.choice.fallback is None:
                raise
            self.choice = VersionChoice(self.choice.fallback, CHAMPION)
            add_log_context(version=self.choice.version.version)
            current_span().set(version=self.choice.version.version, arm=self.choice.arm)
            self._sequences = RequestSequences(self._make_requests(self.choice.version))
            await self._sequences.submit(engine)
            self.service.metrics.fallbacks.labels(self.tenant, _describe_fallback(problem)).inc()

    @property
    def headers(self) -> dict[str, str]:
        """Headers that name the version that answers."""
        version: Version = self.choice.version
        return {
            "x-request-id": self._request_id,
            "x-prefixfleet-tenant": version.tenant,
            "x-prefixfleet-version": version.version,
            "x-prefixfleet-artifact": version.sha256,
            "x-prefixfleet-base": self._base_digest,
            "x-prefixfleet-arm": self.choice.arm,
        }

    async def collect_answer(self) -> BaseModel:
        """Return the whole answer. Raises the error of a sequence that failed."""
        tokens: list[list[Token]] = [[] for _ in self._sequences.results]
        async for pieces in self._stream_pieces():
            for number, piece in pieces:
                tokens[number].extend(piece.tokens)
        return self.form.write_answer(self.stamp, self._sequences.results, tokens, self.usage)

    async def stream_chunks(self) -> AsyncIterator[list[BaseModel]]:
        """Yield the answer in pieces, those of a step together, and at the end the usage if it is requested.

        Raises a sequence's error.
        """
        async for pieces in self._stream_pieces():
            yield [chunk for index, piece in pieces for chunk in self.form.write_piece(self.stamp, index, piece)]
        options = self.form.body.stream_options
        if options and options.include_usage:
            yield [self.form.write_usage(self.stamp, self.usage)]

    @property
    def usage(self) -> Usage:
        """Tokens of the prompts, and tokens generated so far."""
        prompt, completion = (
            self._sequences.count_prompt_tokens(self.form.body.n or 1),
            self._sequences.completion_tokens,
        )
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    def finish(self, status: int) -> None:
        """Cancel the rows that have not ended, and count the request by its status, perhaps CLIENT_DISCONNECTED."""
        if self._is_finished:
            return
        self._is_finished = True
        self._sequences.cancel()
        service, usage = self.service, self.usage
        service.quotas.settle(self.tenant, self._reserved, usage.total_tokens)
        service.metrics.request_seconds.observe(time.monotonic() - self._started_s)
        if status == CLIENT_DISCONNECTED:
            service.metrics.disconnects.inc()
        if not self._is_forgotten:
            self._count_request(status, usage)
        current_span().set(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
        self._log(status, usage)

    @property
    def _is_forgotten(self) -> bool:
        """Whether the tenant was forgotten during the request: then nothing of it is counted or remembered."""
        return self._was_known and not self.service.fleet.has_tenant(self.tenant)

    def _count_request(self, status: int, usage: Usage) -> None:
        service, version, arm = self.service, self.choice.version, self.choice.arm
        service.metrics.requests.labels(self.tenant, arm, status).inc()
        service.metrics.prompt_tokens.labels(self.tenant, arm).inc(usage.prompt_tokens)
        service.metrics.completion_tokens.labels(self.tenant, arm).inc(usage.completion_tokens)
        if status == 200 or (status == CLIENT_DISCONNECTED and usage.completion_tokens):
            service.usage_buffer.add(
                self.tenant,
                requests=1,
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
            )
        if status == 200:
            limit = compute_default_max_tokens(version, service.get_tenant_params(self.tenant))
            results, ticket = self._sequences.results, self._take_ticket()
            sources = [result.request.source for result in results]
            if service.input_statistics is not None and self._is_split:
                service.input_statistics.add(version, [result.request for result in results])
            remembered = RememberedAnswer(version, arm, sources, self.form.body.end_user, ticket)
            service.answer_sharing.add(self.stamp.id, remembered)
            service.answer_memory.add(self.stamp.id, remembered)
            self._observe(
                make_observation(version, arm, results, limit),
                make_observation(version, arm, results[:1], limit),
                limit,
                ticket,
            )

    async def _stream_pieces(self) -> AsyncIterator[list[tuple[int, AnswerPiece]]]:
        first = True
        try:
            async for pieces in self._sequences.stream_pieces():
                if first:
                    self.service.metrics.first_piece_seconds.observe(time.monotonic() - self._started_s)
                    first = False
                yield pieces
        except SERVER_ERRORS as problem:
            self._count_failure(problem)
            raise

    def _make_requests(self, version: Version, seed: int | None = None) -> list[GenerationRequest]:
        rows = self.form.make_rows(version, self.service.get_tenant_params(self.tenant))
        return rows if seed is None else [replace(row, seed=seed) for row in rows]

    def _count_failure(self, problem: PrefixFleetError) -> None:
        if isinstance(problem, _VERSION_ERRORS) and not self._is_forgotten:
            version, arm = self.choice.version, self.choice.arm
            limit = compute_default_max_tokens(version, self.service.get_tenant_params(self.tenant))
            all_rows = make_failure_observation(version, arm, len(self._sequences.results))
            self._observe(all_rows, make_failure_observation(version, arm, 1), limit, self._take_ticket())

    def _take_ticket(self) -> EvidenceTicket | None:
        ticket = self.choice.ticket
        if ticket is None or self._is_user:
            return ticket
        return self.service.observation_buffer.deduplicate_ticket(self.tenant, ticket)

    def _observe(self, all_rows: Observation, first: Observation, limit: int, ticket: EvidenceTicket | None) -> None:
        """Count all rows. Only the first row is evidence; in a shadow trial, only together with the challenger's."""
        choice, service, results = self.choice, self.service, self._sequences.results
        if self._is_split:
            service.observation_buffer.add(all_rows)
        if choice.shadow is not None:
            requests = self._make_requests(choice.shadow, results[0].request.seed)
            texts = [result.text for result in results]
            service.shadow_queue.enqueue(
                ShadowRequest(choice.shadow, requests, texts, limit, first, ticket, current_span())
            )
        elif ticket is not None:
            service.observation_buffer.add_evidence(ticket, first)

    def _log(self, status: int, usage: Usage) -> None:
        line: dict[str, object] = {
            "request": self._request_id,
            "completion": self.stamp.id,
            "tenant": self.tenant,
            "version": self.choice.version.version,
            "arm": self.choice.arm,
            "status": status,
            **usage.model_dump(),
            "ms": round(1000 * (time.monotonic() - self._started_s), 1),
        }
        if self.service.get_tenant_params(self.tenant).access.log_texts:
            line |= {
                "prompts": [result.request.source for result in self._sequences.results],
                "texts": [result.text for result in self._sequences.results],
            }
        logging.getLogger(LOGGER_NAME).info(LoggedFields("request", line))


def _describe_fallback(problem: PrefixFleetError) -> str:
    """Return the metrics' label for why the challenger did not answer."""
    if isinstance(problem, DataError):
        return "too long"
    return "failed" if isinstance(problem, _VERSION_ERRORS) else "store"
