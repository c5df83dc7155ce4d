"""Batched decoding of a base under prefixes or whatever else a tenant has: greedy, sampled, or with beams.

Gives what transformers' `generate` gives (greedy, or beams with `early_stopping=False`) and saves its waste: inputs are
sorted by length, rows that are done leave the batch, all beams of a row share one prefill, and the cache is written in
place. A row's output does not depend on the rows beside it, but for rounding in the last bits of a logit. A row that
reaches its limit ends with the base's `forced_eos_token_id` where it has one. Does not know data sets, metrics or
files.

Shapes: B rows of a batch, F ids that end a row, N new tokens at most.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.config import EvaluateConfig
from components.errors import ConfigError, DataError
from components.model.base import Base
from components.model.controls import Controller, Controls, RowDraws
from components.model.decoding.runs import DecoderRun, GuidedRun, PairRun, Run
from components.model.decoding.search import best_beam, one_by_one
from components.model.delta import Delta, applied, as_delta
from components.model.prefix import Prefix

Sources = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Decoding(Controls):
    """How to decode: greedily with one beam; a score is the sum of log probabilities / length ** length_penalty.

    `guidance` mixes the base's logits with the prefixed ones: 0 is the base, 1 the prefix, above 1 more than it;
    `seed` decides what a temperature draws.

    Raises:
        ConfigError: a value is impossible, or a temperature is given beside beams.

    """

    num_beams: int = 1
    max_new_tokens: int = 96
    length_penalty: float = 1.0
    guidance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        super().__post_init__()
        for name, least in (("num_beams", 1), ("max_new_tokens", 1), ("guidance", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} of at least {least}", str(getattr(self, name)), f"change {name}")
        if self.min_new_tokens > self.max_new_tokens:
            got = f"{self.min_new_tokens} and {self.max_new_tokens}"
            raise ConfigError("min_new_tokens of at most max_new_tokens", got, "change one of the two")
        if self.temperature and self.num_beams > 1:
            got = f"temperature {self.temperature} and num_beams {self.num_beams}"
            raise ConfigError("beams or sampling", got, "set num_beams to 1, or temperature to 0")

    @classmethod
    def of(cls, config: EvaluateConfig) -> "Decoding":
        """What an evaluate section asks for."""
        named = {name: getattr(config, name) for name in cls.__dataclass_fields__ if name in type(config).model_fields}
        return cls(**{**named, "banned": tuple(config.banned)})


def generate_text(
    base: Base,
    delta: Delta | Prefix | None,
    texts: Sequence[str],
    decoding: Decoding,
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
    *,
    max_source_tokens: int | None = None,
) -> list[str]:
    """Generate the target of each source text, stripped; sources are cut to `max_source_tokens` where that is set.

    Raises:
        DataError: a source and the prefix fill the base's context.

    """
    if not texts:
        return []
    own = as_delta(delta).texts(base, decoding.max_new_tokens)
    sources = own.sources(texts, max_source_tokens)
    bare = base.texts.sources(texts, max_source_tokens) if own.demonstrations else None
    outputs = generate_each(base, [delta] * len(sources), sources, decoding, batch_size, on_batch, bare_sources=bare)
    return [base.texts.text(ids) for ids in outputs]


@torch.inference_mode()
def generate_each(
    base: Base,
    deltas: Sequence[Delta | Prefix | None],
    sources: Sources,
    decoding: Decoding,
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
    *,
    bare_sources: Sources | None = None,
) -> list[list[int]]:
    """Generate after each source's token ids under its own delta, `batch_size` sources at a time.

    Rows of prefixes, soft prompts and none share batches; rows of other weights, and of infixes, get their own. Outputs
    come in the order of the sources, without the end-of-text id, and end early where the context is full. `on_batch`
    hears after each batch how many sources it held. With guidance the base reads `bare_sources`, where those differ.

    Raises:
        ConfigError: `batch_size` is below 1.
        DataError: a source is empty, or it and its prefix fill the base's context.
        BaseModelError: a delta does not fit the base.

    """
    if batch_size < 1:
        raise ConfigError("a batch of at least 1 source", str(batch_size), "set evaluate.batch_size to 1 or more")
    if decoding.guidance == 0:
        deltas, sources = [None] * len(sources), bare_sources or sources
    known = {id(one): as_delta(one) for one in deltas}
    rows = [known[id(one)] for one in deltas]
    slots = [0 if base.is_encoder_decoder else row.length for row in rows]
    lengths = [len(ids) + taken for ids, taken in zip(sources, slots, strict=True)]
    _check_sources(base, sources, lengths)
    for delta in known.values():
        delta.check_fits(base)
    work = _Work(base, rows, sources, decoding, bare_sources or sources)
    outputs: list[list[int]] = [[] for _ in sources]
    for group in _groups(rows):
        group.sort(key=lambda row: -lengths[row])
        with work.weights_of(group[0]):
            for start in range(0, len(group), batch_size):
                chosen = group[start : start + batch_size]
                room = [base.context - (1 if base.is_encoder_decoder else lengths[row]) for row in chosen]
                tokens_BN = work.decode(chosen, [min(decoding.max_new_tokens, one) for one in room])
                for row, ids in zip(chosen, tokens_BN.tolist(), strict=True):
                    outputs[row] = ids[: ids.index(base.eos_id)] if base.eos_id in ids else ids
                if on_batch:
                    on_batch(len(chosen))
    return outputs


class _Work:
    """One call's rows, and how a batch of them is decoded."""

    def __init__(
        self,
        base: Base,
        deltas: Sequence[Delta],
        sources: Sources,
        decoding: Decoding,
        bare_sources: Sources,
    ) -> None:
        """Bring every delta to the base's device, once."""
        self.base, self.sources, self.decoding, self.bare_sources = base, sources, decoding, bare_sources
        vocabulary = base.model.get_output_embeddings().weight.shape[0]
        self.controller = Controller(decoding, base.tokenizer, base.eos_id, vocabulary)
        forced = base.model.generation_config.forced_eos_token_id
        ids = [forced] if isinstance(forced, int) else forced
        self.last_F = None if ids is None else torch.tensor(ids, device=base.device)
        distinct = {id(delta): delta for delta in deltas}
        held = {id(delta.weights): delta.weights for delta in deltas}
        weights = {key: None if one is None else one.to(base.device) for key, one in held.items()}
        known = {}
        for key, delta in distinct.items():
            prefix = delta.keys_and_values(base)
            prefix = prefix.to(base.model.dtype, base.device) if prefix else None
            known[key] = Delta(prefix=prefix, weights=weights[id(delta.weights)])
        self.rows = [known[id(delta)] for delta in deltas]

    def weights_of(self, row: int) -> AbstractContextManager[None]:
        """Inside, the base computes with this row's weights."""
        weights = self.rows[row].weights
        return nullcontext() if weights is None else weights.applied(self.base.model)

    def decode(self, chosen: Sequence[int], limits: Sequence[int]) -> Tensor:
        """The new tokens [B, N] of these rows, inside `weights_of` them."""
        base, decoding = self.base, self.decoding
        limit_B = torch.tensor(limits, device=base.device)
        with ExitStack() as stack:
            run = self._run(chosen, stack)
            if decoding.num_beams > 1:
                beams, penalty = decoding.num_beams, decoding.length_penalty
                return best_beam(run, limit_B, max(limits), self.controller, beams, penalty, base.eos_id, self.last_F)
            draws = RowDraws(decoding.seed, [(row, 0) for row in chosen]) if decoding.temperature else None
            return one_by_one(run, limit_B, max(limits), self.controller, draws, base.eos_id, self.last_F)

    def _run(self, chosen: Sequence[int], stack: ExitStack) -> Run:
        base, beams, guidance = self.base, self.decoding.num_beams, self.decoding.guidance
        rows, sources = [self.rows[row] for row in chosen], [self.sources[row] for row in chosen]
        bare_sources = [self.bare_sources[row] for row in chosen]
        weights = rows[0].weights
        if base.is_encoder_decoder:
            attachment = stack.enter_context(applied(base, rows))
            run: Run = PairRun(base, attachment, sources, beams)
        else:
            attachment = None
            run = DecoderRun(base, [row.prefix for row in rows], sources, beams)

        def bare() -> Run:
            if base.is_encoder_decoder:
                return PairRun(base, None, bare_sources, beams)
            return DecoderRun(base, [None] * len(rows), bare_sources, beams)

        def suspended() -> AbstractContextManager[Any]:
            off = ExitStack()
            if weights is not None:
                off.enter_context(weights.suspended())
            if attachment is not None:
                off.enter_context(attachment.suspended())
            return off

        return run if guidance in (0, 1) else GuidedRun(run, bare, guidance, suspended)


def _groups(rows: Sequence[Delta]) -> list[list[int]]:
    groups: dict[tuple[int, bool], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault((id(row.weights), bool(row.prefix and row.prefix.is_infix)), []).append(number)
    return list(groups.values())


def _check_sources(base: Base, sources: Sources, lengths: Sequence[int]) -> None:
    room = base.context + 1 if base.is_encoder_decoder else base.context
    for number, (ids, length) in enumerate(zip(sources, lengths, strict=True), 1):
        if not ids:
            raise DataError("at least one token in a source", f"none in source {number}", "end it with end-of-text")
        if length >= room:
            got = f"{length} in source {number}, prefix included"
            raise DataError(f"fewer than {room} tokens", got, "shorten it or set train.max_source_tokens")
