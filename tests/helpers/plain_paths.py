"""Turn optimisations of training and decoding off, so that a test can compare results with the plain computation.

Each optimisation is chosen by what the base can do. `turn_off` replaces the function that decides, or the fast function
itself by its plain counterpart.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from copied_beam_cache import CopiedBeamCache
from torch import Tensor

from components.model.decoding import decoder_run, search, seq2seq_run
from components.model.packing import packed_rows
from components.model.packing.attention import attend_packed_with_sdpa
from components.training import objective

TRAINING = ("packing", "fused_loss", "fused_attention", "cut_last_block")
DECODING = ("shared_beams", "fast_candidates")


@contextmanager
def turn_off(*names: str) -> Iterator[None]:
    """Inside, the optimisations of these names (of `TRAINING` and `DECODING`) are off in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            _TURN_OFF[name](patch)
        yield


def turn_off_unless(**on: bool) -> Any:
    """`turn_off` for every name whose value is False."""
    return turn_off(*(name for name, value in on.items() if not value))


def _pad_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(objective, "is_packable", lambda _model: False)


def _keep_all_logits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(objective, "has_plain_head", lambda _model: False)


def _attend_with_sdpa(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(packed_rows, "attend_packed", attend_packed_with_sdpa)


def _compute_whole_last_block(patch: pytest.MonkeyPatch) -> None:
    pack_rows = objective.pack_rows
    patch.setattr(objective, "pack_rows", lambda *args, **values: pack_rows(*args, **{**values, "starts": None}))


def _copy_caches(patch: pytest.MonkeyPatch) -> None:
    def repeat(layer: Any, beams: int) -> Any:
        layer.batch_repeat_interleave(beams)
        return layer

    patch.setattr(decoder_run, "BeamTree", CopiedBeamCache)
    patch.setattr(seq2seq_run, "GrowingCacheLayer", repeat)


def _search_all_logits(patch: pytest.MonkeyPatch) -> None:
    def find_top_candidates(logits_RV: Tensor, count: int) -> tuple[Tensor, Tensor]:
        value_RC, index_RC = logits_RV.topk(count)
        return value_RC.float(), index_RC

    patch.setattr(search, "find_top_candidates", find_top_candidates)
    patch.setattr(search, "compute_log_sum_exp", lambda logits_RV: logits_RV.float().logsumexp(dim=1))


_TURN_OFF: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "packing": _pad_rows,
    "fused_loss": _keep_all_logits,
    "fused_attention": _attend_with_sdpa,
    "cut_last_block": _compute_whole_last_block,
    "shared_beams": _copy_caches,
    "fast_candidates": _search_all_logits,
}
