"""Rows on their way through the base: waiting, decoded together, and out as soon as each is done.

Rows of prefixes, soft prompts and none share a batch; those of other weights, and of infixes, get their own. Places
that finished rows leave are filled again, except in encoder-decoder models. Does not know texts, tenants, metrics or
files.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from components.config import EngineConfig
from components.errors import BaseModelError
from components.model.base.load import Base
from components.model.base.out_of_memory import out_of_memory
from components.model.decoding.controls import Controller
from components.model.decoding.decoder_run import DecoderRun, GuidedRun
from components.model.decoding.options import Decoding
from components.model.decoding.request_queue import Request, Waiting
from components.model.decoding.search import Beams, OneByOne, Rules, Search, Taken
from components.model.decoding.seq2seq_run import PairRun
from components.model.delta import Delta, applied
from components.model.prefix.prefix import Prefix

_log = logging.getLogger(__name__)
_WINDOWS = 4
"""Rows that are looked at ahead and sorted, in batches."""
_REFILL = 8
"""A batch takes new rows in when this part of its places is free: a prefill of one row costs as much as of several."""


Done = tuple[Request, list[int]]


@torch.inference_mode()
def decode(
    base: Base, requests: Iterable[Request], decoding: Decoding, places: int, engine: EngineConfig | None = None
) -> Iterator[Done]:
    """Generate for every request, `places` rows at a time; each comes with its new ids, without end-of-text, when done.

    Requests must be possible, as `requests_for` makes them. They are asked for when places get free, but never while
    the base computes as anything but itself. Where memory runs out, half of the rows at a time go on, from their start.

    Raises:
        BaseModelError: there is too little memory for one row alone.
    """
    work, waiting = _Work(base, decoding, engine or EngineConfig()), Waiting(requests, _WINDOWS * places)
    while waiting.ahead():
        weights = waiting.first.delta.weights
        weights = None if weights is None else weights.to(base.device)
        with nullcontext() if weights is None else weights.applied(base.model), ExitStack() as stack:
            batch: _Batch | None = None
            while True:
                rows, fresh = batch.rows if batch else [], list[Request]()
                free = places - len(rows)
                if batch is None or (free * _REFILL >= places and not base.is_encoder_decoder):
                    stack.close()
                    fresh = waiting.take(free, more=weights is None)
                    if batch is None and not fresh:
                        break
                try:
                    batch, done = _advanced(work, batch, fresh, weights, stack)
                except (RuntimeError, MemoryError) as problem:
                    if not out_of_memory(problem):
                        raise
                    batch, done, places = None, [], _fewer([*rows, *fresh], problem)
                    waiting.take_back([*rows, *fresh])
                yield from done


def _advanced(
    work: "_Work", batch: "_Batch | None", fresh: list[Request], weights: Any, stack: ExitStack
) -> tuple["_Batch | None", list[Done]]:
    """The batch with fresh rows and one token more, None where all are done, and who is done."""
    done: list[Done] = []
    if fresh:
        joining = _Batch(work, fresh, weights, stack)
        done += joining.take(joining.run.logits_BV)
        batch = joining if batch is None else batch.joined(joining)
    if batch is not None and batch.rows:
        done += batch.step()
    return (batch if batch is not None and batch.rows else None), done


def _fewer(rows: Sequence[Request], problem: BaseException) -> int:
    """How many rows to decode together where there was no memory for these. Raises BaseModelError: it was one."""
    if len(rows) == 1:
        got = f"too little for {rows[0].length} tokens to read and {rows[0].limit} to write"
        fix = "free memory, or lower evaluate.max_new_tokens or train.max_source_tokens"
        raise BaseModelError("memory to decode one row", got, fix) from problem
    _log.warning("out of memory: %d rows together from here on, where %d were tried", len(rows) // 2, len(rows))
    return len(rows) // 2


class _Work:
    """What all batches of a call share."""

    def __init__(self, base: Base, decoding: Decoding, engine: EngineConfig) -> None:
        self.base, self.decoding, self.shared_beams = base, decoding, engine.shared_beams
        vocabulary = base.model.get_output_embeddings().weight.shape[0]
        controller = Controller(decoding, base.tokenizer, base.eos_id, vocabulary)
        forced = base.model.generation_config.forced_eos_token_id
        ids = [forced] if isinstance(forced, int) else forced
        last_F = None if ids is None else torch.tensor(sorted(ids), device=base.device)
        self.rules = Rules(decoding, controller, base.eos_id, last_F, engine.fast_candidates)
        self._prefixes: WeakKeyDictionary[Delta, Prefix | None] = WeakKeyDictionary()

    def prefix(self, delta: Delta) -> Prefix | None:
        """A delta's keys and values on the base's device, made once."""
        if delta not in self._prefixes:
            prefix = delta.keys_and_values(self.base)
            self._prefixes[delta] = prefix.to(self.base.model.dtype, self.base.device) if prefix else None
        return self._prefixes[delta]

    def search(self, rows: Sequence[Request]) -> Search:
        """Nothing written yet."""
        limits, device = [row.limit for row in rows], self.base.device
        if self.decoding.num_beams > 1:
            return Beams(self.rules, limits, device)
        return OneByOne(self.rules, limits, [row.number for row in rows], device)


class _Batch:
    """Rows that are decoded together: what the model remembers and what the search has written."""

    def __init__(self, work: _Work, rows: list[Request], weights: Any, stack: ExitStack) -> None:
        """Prefill; `weights` are applied, and `stack` closes what must stay open for these rows."""
        self.rows, self.search = rows, work.search(rows)
        self.run = _run(work, rows, weights, stack)
        self.token_BK: Tensor

    def step(self) -> Iterator[Done]:
        """One token more for every beam."""
        return self.take(self.run.step(self.token_BK))

    def take(self, logits_RV: Tensor) -> Iterator[Done]:
        """Choose the next tokens and let the rows that are done go."""
        taken: Taken = self.search.take(logits_RV)
        done = [(self.rows[place], ids) for place, ids in taken.done]
        if done:
            self.rows = [self.rows[place] for place in taken.place_B.tolist()]
        if done and self.rows:
            self.run.keep(taken.place_B)
        if taken.parent_BK is not None and self.rows:
            self.run.reorder(taken.parent_BK)
        self.token_BK = taken.token_BK
        return iter(done)

    def joined(self, fresh: "_Batch") -> "_Batch":
        """These rows and, behind them, others; all of them have their next tokens."""
        if not fresh.rows:
            return self
        self.rows = self.rows + fresh.rows
        self.run.join(fresh.run)
        self.search.join(fresh.search)
        self.token_BK = torch.cat([self.token_BK, fresh.token_BK])
        return self


def _run(work: _Work, rows: Sequence[Request], weights: Any, stack: ExitStack) -> Any:
    base, beams, guidance = work.base, work.decoding.num_beams, work.decoding.guidance
    prefixes, sources = [work.prefix(row.delta) for row in rows], [row.source for row in rows]
    attachment = stack.enter_context(applied(base, prefixes)) if base.is_encoder_decoder else None
    kind = PairRun if base.is_encoder_decoder else DecoderRun

    def run(sources: Sequence[Sequence[int]], given: Any) -> Any:
        return kind(base, given, sources, beams, shared_beams=work.shared_beams)

    own = run(sources, attachment if base.is_encoder_decoder else prefixes)
    if guidance in (0, 1):
        return own

    def suspended() -> AbstractContextManager[Any]:
        off = ExitStack()
        if weights is not None:
            off.enter_context(weights.suspended())
        if attachment is not None:
            off.enter_context(attachment.suspended())
        return off

    nothing = None if base.is_encoder_decoder else [None] * len(rows)
    return GuidedRun(own, lambda: run([row.bare for row in rows], nothing), guidance, suspended)
