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
from components.model.decoding import Decoding, requests_for
from components.serving.engine.answer_stream import LiveAnswer
from components.serving.engine.artifacts.cache import Resident, Residents
from components.serving.engine.batch import Batch
from components.serving.engine.detokenizer import Writing
from components.serving.engine.model_thread import Worker
from components.serving.engine.sampler import draws_of
from components.serving.engine.seq2seq_batch import PairBatch
from components.serving.engine.sequence import Row
from components.serving.interface import BusyError, Health, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
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

    def __init__(self, base: Base, residents: Residents, limits: Limits | None = None) -> None:
        """Start the model's thread.

        Raises:
            BaseModelError: the base cannot compute rows of many tenants at once.
        """
        self.base, self.residents, self.limits = base, residents, limits or Limits()
        rows, paired = self.limits.rows, base.is_encoder_decoder
        batch = PairBatch(base, rows) if paired else Batch(base, rows, self.limits.step_tokens)
        self._worker = Worker(batch, base.eos_id, self._release)
        self._coming: Counter[str] = Counter()
        self._decode = _decoder(base)
        self._worker.start()

    async def submit(self, request: Request) -> LiveAnswer:
        """See `Engine.submit`."""
        tenant = request.artifact.tenant
        if request.guidance not in (0, 1) and self.limits.rows < 2 and not self.base.is_encoder_decoder:
            raise ConfigError("guidance of 0 or 1", f"{request.guidance:g}, with places for one row", _WIDEN)
        if not request.source.strip():
            raise DataError("a source text", "an empty one", "give text as in the tenant's data")
        with self._expected(tenant):
            resident = await self.residents.acquire(request.artifact)
            try:
                row = self._row(request, resident)
            except BaseException:
                self.residents.release(request.artifact)
                raise
            self._worker.push(row)
        return row.answer

    def health(self) -> Health:
        """See `Engine.health`."""
        device, host, size = self.residents.counts
        return Health(
            ready=self._worker.alive,
            running=self._worker.running,
            queued=len(self._worker.queue),
            resident_device=device,
            resident_host=host,
            resident_bytes=size,
            trouble=self.residents.trouble,
        )

    async def drain(self) -> None:
        """See `Engine.drain`."""
        await asyncio.to_thread(self._worker.finish)
        await asyncio.to_thread(self.residents.close)

    @contextmanager
    def _expected(self, tenant: str) -> Iterator[None]:
        """Count a row that is about to wait. Raises BusyError."""
        worker, limits = self._worker, self.limits
        with worker.wake:
            waiting, own = len(worker.queue) + worker.coming, worker.queue.of(tenant) + self._coming[tenant]
            if not worker.alive:
                raise BusyError("an engine that takes requests", "one that is shutting down", _LATER, retry_after=1.0)
            if waiting >= limits.queue or own >= limits.tenant_queue:
                got = f"{waiting} rows that wait, {own} of {tenant}"
                wanted = f"fewer than {limits.queue} rows that wait, and {limits.tenant_queue} of a tenant"
                raise BusyError(wanted, got, _LATER, retry_after=worker.rate.seconds(own))
            worker.coming += 1
            self._coming[tenant] += 1
        try:
            yield
        finally:
            with worker.wake:
                worker.coming -= 1
                self._coming[tenant] -= 1
                if not self._coming[tenant]:
                    del self._coming[tenant]
                worker.wake.notify()

    def _row(self, request: Request, resident: Resident) -> Row:
        decoding = Decoding(
            max_new_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            guidance=request.guidance,
            seed=request.seed,
        )
        (work,) = requests_for(self.base, resident.delta, [request.source], decoding, resident.max_source_tokens)
        answer = LiveAnswer(len(work.source), lambda: self._worker.cancel(row))
        writing = Writing(self._decode, request.stop)
        row = Row(request, resident, work, answer, writing, draws_of(request))
        return row

    def _release(self, row: Row) -> None:
        self.residents.release(row.request.artifact)


_LATER = "try again later"
_DECODED = 1 << 16
"""Texts kept of the one or two ids that a new token is looked at with; they come again and again."""
_WIDEN = "leave guidance out, or let the operator set serve.rows to 2 or more"


def _decoder(base: Base) -> Callable[[Sequence[int]], str]:
    """Ids as text in the model's thread: a copy, since a tokenizer that encodes must not be used meanwhile."""
    tokenizer = copy.deepcopy(base.tokenizer)

    @lru_cache(_DECODED)
    def decoded(ids: tuple[int, ...]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return lambda ids: decoded(tuple(ids))
