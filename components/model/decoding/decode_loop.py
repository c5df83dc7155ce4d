"""The decoding loop: take requests from a queue, decode them in batches, yield each row when it is finished.

Rows with prefixes, with soft prompts and without a delta share a batch. Rows with infixes, and rows with different
weights, need separate batches. Waiting rows replace finished ones where the base's cache can be shared. Does not know
texts, tenants, metrics or files.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from components.errors import BaseModelError
from components.model.base.load import Base
from components.model.base.out_of_memory import is_out_of_memory
from components.model.decoding.controls import LogitsController
from components.model.decoding.decoder_run import GuidedRun
from components.model.decoding.options import Decoding
from components.model.decoding.request_queue import DecodeRequest, RequestQueue
from components.model.decoding.run_kinds import attach_to_sources, can_pad_rows, can_share_cache, find_run_kind
from components.model.decoding.search import (
    BeamSearch,
    SearchRules,
    SearchStep,
    SingleSequenceSearch,
    TokenSearch,
    find_forced_eos_ids,
)
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix

_log = logging.getLogger(__name__)
_BATCHES_PER_WINDOW = 4
"""Requests that are read ahead and sorted by length, in batches."""
_REFILL_DIVISOR = 8
"""New rows join when 1 / this of the batch is free: a prefill of one row takes about as long as one of several."""


FinishedRow = tuple[DecodeRequest, list[int]]


@torch.inference_mode()
def decode(
    base: Base,
    requests: Iterable[DecodeRequest],
    decoding: Decoding,
    batch_size: int,
) -> Iterator[FinishedRow]:
    """Decode all requests, `batch_size` rows at a time; yield each request with its new ids when it is finished.

    Requests must fit the context (see `make_requests`). They are read from the iterable only when rows are needed, and
    never while a delta's weights are applied to the base. When memory runs out, the running rows start again, half as
    many at a time.

    Raises:
        BaseModelError: there is too little memory for a single row.
    """
    context = _DecodeContext(base, decoding)
    batch_size = batch_size if context.can_pad_rows else 1
    queue = RequestQueue(requests, _BATCHES_PER_WINDOW * batch_size)
    while queue.open_next_window():
        weights = queue.first.delta.weights
        weights = None if weights is None else weights.to(base.device)
        with nullcontext() if weights is None else weights.apply(base.model), ExitStack() as stack:
            batch: _DecodeBatch | None = None
            while True:
                rows, fresh = batch.rows if batch else [], list[DecodeRequest]()
                free = batch_size - len(rows)
                if batch is None or (free * _REFILL_DIVISOR >= batch_size and context.can_join):
                    stack.close()
                    fresh = queue.take(free, may_refill=weights is None)
                    if batch is None and not fresh:
                        break
                try:
                    batch, done = _advance(context, batch, fresh, weights, stack)
                except (RuntimeError, MemoryError) as problem:
                    if not is_out_of_memory(problem):
                        raise
                    batch, done, batch_size = None, [], _halve_batch_size([*rows, *fresh], problem)
                    queue.put_back([*rows, *fresh])
                yield from done


def _advance(
    context: "_DecodeContext", batch: "_DecodeBatch | None", fresh: list[DecodeRequest], weights: Any, stack: ExitStack
) -> tuple["_DecodeBatch | None", list[FinishedRow]]:
    """Add the fresh rows and decode one token. Return the batch (None if all rows are finished) and finished rows."""
    done: list[FinishedRow] = []
    if fresh:
        joining = _DecodeBatch(context, fresh, weights, stack)
        done += joining.choose_tokens(joining.run.logits_BV)
        batch = joining if batch is None else batch.join(joining)
    if batch is not None and batch.rows:
        done += batch.step()
    return (batch if batch is not None and batch.rows else None), done


def _halve_batch_size(rows: Sequence[DecodeRequest], problem: BaseException) -> int:
    """Return half the number of these rows, for which memory was too small. Raises BaseModelError for a single row."""
    if len(rows) == 1:
        got = f"too little for {rows[0].length} tokens to read and {rows[0].limit} to write"
        fix = "free memory, or lower evaluate.max_new_tokens or train.max_source_tokens"
        raise BaseModelError("memory to decode one row", got, fix) from problem
    _log.warning("out of memory with %d rows together: continuing with %d", len(rows), len(rows) // 2)
    return len(rows) // 2


class _DecodeContext:
    """The state that all batches of a call share."""

    def __init__(self, base: Base, decoding: Decoding) -> None:
        self.base, self.decoding = base, decoding
        vocabulary = base.model.get_output_embeddings().weight.shape[0]
        controller = LogitsController(decoding, base.tokenizer, base.eos_id, vocabulary)
        self.rules = SearchRules(decoding, controller, base.eos_id, find_forced_eos_ids(base))
        self.can_join = can_share_cache(base)
        """Whether rows can join a batch that has started."""
        self.can_pad_rows = can_pad_rows(base)
        """Whether rows of different lengths can be in one batch."""
        self.kind = find_run_kind(base)
        self._prefixes: WeakKeyDictionary[Delta, Prefix | None] = WeakKeyDictionary()

    def get_prefix(self, delta: Delta) -> Prefix | None:
        """Return a delta's keys and values on the base's device. Cached per delta."""
        if delta not in self._prefixes:
            prefix = delta.compute_prefix(self.base)
            self._prefixes[delta] = prefix.to(self.base.model.dtype, self.base.device) if prefix else None
        return self._prefixes[delta]

    def start_search(self, rows: Sequence[DecodeRequest]) -> TokenSearch:
        """Make the search for new rows, with no tokens yet."""
        limits, device = [row.limit for row in rows], self.base.device
        if self.decoding.num_beams > 1:
            return BeamSearch(self.rules, limits, device)
        return SingleSequenceSearch(self.rules, limits, [row.number for row in rows], device)


class _DecodeBatch:
    """Rows that are decoded together: the model's run, and the search with the new tokens."""

    def __init__(self, context: _DecodeContext, rows: list[DecodeRequest], weights: Any, stack: ExitStack) -> None:
        """Prefill the rows, with `weights` applied already. `stack` closes what these rows keep open."""
        self.rows, self.search = rows, context.start_search(rows)
        self.run = _start_run(context, rows, weights, stack)
        self.token_BK: Tensor

    def step(self) -> Iterator[FinishedRow]:
        """Decode one more token of every beam. Return the finished rows."""
        return self.choose_tokens(self.run.step(self.token_BK))

    def choose_tokens(self, logits_RV: Tensor) -> Iterator[FinishedRow]:
        """Choose the next tokens and drop finished rows. Return the finished rows."""
        step: SearchStep = self.search.choose_tokens(logits_RV)
        done = [(self.rows[index], ids) for index, ids in step.finished]
        if done:
            self.rows = [self.rows[index] for index in step.kept_B.tolist()]
        if done and self.rows:
            self.run.keep(step.kept_B)
        if step.parent_BK is not None and self.rows:
            self.run.reorder(step.parent_BK)
        self.token_BK = step.token_BK
        return iter(done)

    def join(self, fresh: "_DecodeBatch") -> "_DecodeBatch":
        """Append the rows of another batch whose next tokens are chosen. Return this batch."""
        if not fresh.rows:
            return self
        self.rows = self.rows + fresh.rows
        self.run.join(fresh.run)
        self.search.join(fresh.search)
        self.token_BK = torch.cat([self.token_BK, fresh.token_BK])
        return self


def _start_run(context: _DecodeContext, rows: Sequence[DecodeRequest], weights: Any, stack: ExitStack) -> Any:
    base, beams, guidance = context.base, context.decoding.num_beams, context.decoding.guidance
    prefixes, sources = [context.get_prefix(row.delta) for row in rows], [row.source for row in rows]
    attachment = None if context.can_join else stack.enter_context(attach_to_sources(base, prefixes, sources))

    def run(sources: Sequence[Sequence[int]], attached: Any) -> Any:
        return context.kind(base, attached, sources, beams)

    own = run(sources, prefixes if context.can_join else attachment)
    if guidance in (0, 1):
        return own

    def suspended() -> AbstractContextManager[Any]:
        off = ExitStack()
        if weights is not None:
            off.enter_context(weights.suspend())
        if attachment is not None:
            off.enter_context(attachment.suspend())
        return off

    no_prefixes = [None] * len(rows) if context.can_join else None
    return GuidedRun(own, lambda: run([row.bare_source for row in rows], no_prefixes), guidance, suspended)
