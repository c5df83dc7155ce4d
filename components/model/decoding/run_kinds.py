"""Choose how the rows of a base are decoded: in one shared cache, or under attached prefixes with caches of their own.

Knows what a base can do; does not know requests or how a token is chosen.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

from components.model.base.attention_sites import has_cache_of_keys
from components.model.base.column_counts import ignores_left_padding
from components.model.base.load import Base
from components.model.base.placement import is_divided
from components.model.base.tensor_parallel import check_whole, is_tensor_parallel
from components.model.decoding.attached_run import AttachedRun
from components.model.decoding.decoder_run import DecoderOnlyRun
from components.model.decoding.divided_run import DividedRun
from components.model.decoding.seq2seq_run import Seq2SeqRun
from components.model.delta import Delta, apply_deltas
from components.model.packing import is_packable
from components.model.prefix.attach import Attachment
from components.model.prefix.prefix import Prefix

RowMode = Literal["rows join and leave", "rows start together", "one by one"]


def can_share_cache(base: Base) -> bool:
    """Whether `DecoderOnlyRun` can decode this base.

    Its tokens meet in attention alone, whose keys its cache holds, and all its layers are on one device, as the cache.
    """
    return (
        not base.is_encoder_decoder
        and not is_divided(base.model)
        and has_cache_of_keys(base.model)
        and is_packable(base.model)
    )


def can_pad_rows(base: Base) -> bool:
    """Whether rows of different lengths can be in one batch."""
    return can_share_cache(base) or base.is_encoder_decoder or ignores_left_padding(base.model)


def find_row_mode(base: Base) -> RowMode:
    """Return how rows share a batch: waiting rows replace finished ones, all start together, or each is alone."""
    if can_share_cache(base):
        return "rows join and leave"
    return "rows start together" if can_pad_rows(base) else "one by one"


def find_run_kind(base: Base) -> Any:
    """Return the class of a base's runs.

    Raises:
        BaseModelError: the base is divided among processes, and its cache cannot be shared.
    """
    if can_share_cache(base):
        return DividedRun if is_tensor_parallel(base.model) else DecoderOnlyRun
    check_whole(base.model, f"{type(base.model).__name__}, whose rows have caches of their own")
    return find_attached_kind(base)


def find_attached_kind(base: Base) -> type[AttachedRun] | type[Seq2SeqRun]:
    """Return the run for a base whose cache cannot be shared."""
    return Seq2SeqRun if base.is_encoder_decoder else AttachedRun


def attach_to_sources(
    base: Base, rows: Sequence[Delta | Prefix | None], sources: Sequence[Sequence[int]]
) -> AbstractContextManager[Attachment | None]:
    """`apply_deltas` for the run of `find_attached_kind`, in which an infix is before the last source token."""
    starts_B = torch.full((len(sources),), max(map(len, sources)) - 1, device=base.device)
    return apply_deltas(base, rows, None if base.is_encoder_decoder else starts_B)
